"""ModelConfig: how a version is served, in Triton's words."""

from collections.abc import Iterable

from strata_server.catalog import Layer
from strata_server.configuration import model_config_pb2
from strata_server.configuration.model_settings import ModelSettings, VersionPolicy
from strata_server.datatypes import DATATYPES
from strata_server.deadline import Deadline
from strata_server.rpc.open_inference import open_inference_pb2 as pb
from strata_server.rpc.open_inference.facilities import Facilities
from strata_server.version import Version

_CATALOG = "strata.v1.CatalogService/DescribeModel"
# Triton's enumeration has names of its own for some of the protocol's types.
_TYPES = {"BYTES": "TYPE_STRING"}


def model_config(facilities: Facilities, request: pb.ModelConfigRequest, deadline: Deadline) -> pb.ModelConfigResponse:
    """Describe how a version is served."""
    repository = facilities.engine.repository
    version = repository.find(request.name, request.version)
    settings = repository.find_model(version.model).settings
    return pb.ModelConfigResponse(config=describe_config(version, settings))


def describe_config(version: Version, settings: ModelSettings) -> model_config_pb2.ModelConfig:
    """Return the configuration of a version: what its folder says now, and what follows from the artifact."""
    catalog = version.catalog
    prediction = version.find(_names(catalog.inputs), _names(catalog.default_exits))
    batch = version.tile_rows if version.batches(prediction) else 0
    kind = "KIND_GPU" if version.has_device else "KIND_CPU"
    parameters = {**settings.parameters, "layers": str(len(catalog.layers)), "layers_catalog": _CATALOG}
    return model_config_pb2.ModelConfig(
        name=version.model,
        platform="onnxruntime_onnx",
        backend="onnxruntime",
        version_policy=_write_policy(settings.versions),
        max_batch_size=batch,
        input=[
            model_config_pb2.ModelInput(name=layer.name, data_type=_type_of(layer), dims=_dims(layer, batch))
            for layer in catalog.inputs
        ],
        output=[
            model_config_pb2.ModelOutput(name=layer.name, data_type=_type_of(layer), dims=_dims(layer, batch))
            for layer in catalog.default_exits
        ],
        instance_group=[model_config_pb2.ModelInstanceGroup(name=f"{version.model}_0", count=1, kind=kind)],
        default_model_filename="model.onnx",
        dynamic_batching=_write_batching(settings) if batch else None,
        parameters={name: model_config_pb2.ModelParameter(string_value=value) for name, value in parameters.items()},
    )


def _write_policy(policy: VersionPolicy) -> model_config_pb2.ModelVersionPolicy:
    kinds = model_config_pb2.ModelVersionPolicy
    if policy.specific:
        return kinds(specific=kinds.Specific(versions=policy.specific))
    return kinds(all=kinds.All()) if policy.latest is None else kinds(latest=kinds.Latest(num_versions=policy.latest))


def _write_batching(settings: ModelSettings) -> model_config_pb2.ModelDynamicBatching:
    return model_config_pb2.ModelDynamicBatching(max_queue_delay_microseconds=settings.batch_wait_us or 0)


def _names(layers: Iterable[Layer]) -> list[str]:
    return [layer.name for layer in layers]


def _type_of(layer: Layer) -> str:
    datatype = DATATYPES[layer.dtype]
    return _TYPES.get(datatype, f"TYPE_{datatype}")


def _dims(layer: Layer, batch: int) -> tuple[int, ...]:
    """Return the sizes, without the batch where rows run together."""
    return (layer.shape or ())[1 if batch else 0 :]
