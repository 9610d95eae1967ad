"""What the server and its models are, and whether they take requests."""

from importlib.metadata import version as distribution_version

from strata_server.catalog import Layer
from strata_server.datatypes import DATATYPES
from strata_server.deadline import Deadline
from strata_server.errors import NotFound
from strata_server.rpc.open_inference import open_inference_pb2 as pb
from strata_server.rpc.open_inference.facilities import Facilities

_EXTENSIONS = (
    "classification",
    "model_configuration",
    "model_repository",
    "model_repository(unload_dependents)",
    "statistics",
    "schedule_policy",
    "binary_tensor_data",
    "parameters",
    "trace",
    "logging",
    "layers",
)


def server_live(facilities: Facilities, request: pb.ServerLiveRequest, deadline: Deadline) -> pb.ServerLiveResponse:
    """Say that the server runs."""
    return pb.ServerLiveResponse(live=True)


def server_ready(facilities: Facilities, request: pb.ServerReadyRequest, deadline: Deadline) -> pb.ServerReadyResponse:
    """Say that requests are taken: calls are answered only once the models are loaded."""
    return pb.ServerReadyResponse(ready=True)


def model_ready(facilities: Facilities, request: pb.ModelReadyRequest, deadline: Deadline) -> pb.ModelReadyResponse:
    """Say whether a version takes requests; an unknown one does not, and one that is no number is an error."""
    try:
        facilities.engine.repository.find(request.name, request.version)
    except NotFound:
        return pb.ModelReadyResponse(ready=False)
    return pb.ModelReadyResponse(ready=True)


def server_metadata(
    facilities: Facilities, request: pb.ServerMetadataRequest, deadline: Deadline
) -> pb.ServerMetadataResponse:
    """Name the server and what it serves of the protocol's extensions."""
    extensions = [*_EXTENSIONS, *(["system_shared_memory"] if facilities.regions else [])]
    return pb.ServerMetadataResponse(
        name="strata", version=distribution_version("strata-server"), extensions=extensions
    )


def model_metadata(
    facilities: Facilities, request: pb.ModelMetadataRequest, deadline: Deadline
) -> pb.ModelMetadataResponse:
    """Describe a model's inputs and its default outputs."""
    repository = facilities.engine.repository
    version = repository.find(request.name, request.version)
    return pb.ModelMetadataResponse(
        name=version.model,
        versions=[str(each.number) for each in repository.find_all(version.model)],
        platform="onnxruntime_onnx",
        inputs=map(_write_tensor, version.catalog.inputs),
        outputs=map(_write_tensor, version.catalog.default_exits),
    )


def _write_tensor(layer: Layer) -> pb.ModelMetadataResponse.TensorMetadata:
    datatype = DATATYPES[layer.dtype]
    return pb.ModelMetadataResponse.TensorMetadata(name=layer.name, datatype=datatype, shape=layer.shape)
