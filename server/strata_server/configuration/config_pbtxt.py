"""Triton's config.pbtxt: what of it is honored; whatever else it says is refused by name."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from google.protobuf import text_format

from strata_server.configuration.fields import (
    MOST_ROWS,
    MOST_WAIT_US,
    check_count,
    check_latest,
    check_numbers,
    explain_unknown,
    shorten,
)
from strata_server.configuration.folder import read_classes
from strata_server.configuration.model_config_pb2 import (
    DESCRIPTOR,
    DataType,
    ModelConfig,
    ModelInput,
    ModelInstanceGroup,
    ModelOutput,
    ModelVersionPolicy,
)
from strata_server.configuration.model_settings import ModelSettings, TensorDeclaration, VersionPolicy
from strata_server.errors import ArtifactError, quote

FILE = "config.pbtxt"
PLATFORM = "onnxruntime_onnx"
BACKEND = "onnxruntime"
ARTIFACT = "model.onnx"

_NO_FIELD = re.compile(r'Message type "inference\.([\w.]+)" has no field named "([^"]*)"')
_COMPLAINT = re.compile("^'.*': ")
_MOST_DIMENSIONS = 16
_LARGEST_SIZE = 2**31 - 1
_LATEST = VersionPolicy(latest=1)  # Triton's own where nothing is said
_DEVICES = {
    ModelInstanceGroup.KIND_AUTO: "",
    ModelInstanceGroup.KIND_CPU: "cpu",
    ModelInstanceGroup.KIND_GPU: "cuda",
}
# Of sizes without the batch, which counts the channels.
_CHANNEL_AXES: dict[int, int] = {ModelInput.FORMAT_NHWC: 2, ModelInput.FORMAT_NCHW: 0}


def read_config_pbtxt(folder: Path, text: str) -> ModelSettings:
    """Return what a config.pbtxt says.

    Args:
        folder: the model's: its name is the model's, and a label file lies in it.
        text: the file's.

    Raises:
        ArtifactError: naming the field, what was expected and what was received.
    """
    config = _parse(text)
    _check_fixed(folder.name, config)
    has_batch = config.max_batch_size > 0
    classes, classes_of = _read_classes(folder, config.output)
    return ModelSettings(
        declared_in=FILE,
        versions=_read_policy(config.version_policy),
        joins_requests=has_batch or not config.HasField("max_batch_size"),
        has_batch=has_batch,
        batch_rows=_read_rows(config),
        batch_wait_us=_read_wait_us(config),
        classes=classes,
        label_file=next((output.label_filename for output in config.output if output.label_filename), ""),
        classes_of=classes_of,
        inputs=_read_tensors("input", list(config.input)),
        outputs=_read_tensors("output", list(config.output)),
        device=_read_device(config.instance_group),
        parameters={name: parameter.string_value for name, parameter in config.parameters.items()},
    )


def _parse(text: str) -> ModelConfig:
    try:
        return text_format.Parse(text, ModelConfig())
    except text_format.ParseError as error:
        raise ArtifactError(f"{FILE}: {_explain(str(error))}") from error
    except ValueError as error:  # escapes of characters that there are not
        raise ArtifactError(f"{FILE}: it is no text of a ModelConfig: {shorten(str(error))}") from error


def _explain(problem: str) -> str:
    """Return a parser's complaint; of a field that is not honored with those that are."""
    missing = _NO_FIELD.search(problem)
    place, _, complaint = problem.partition(" : ")
    if not complaint:
        return shorten(problem)
    line = place.partition(":")[0]
    if missing:
        message, name = missing.groups()
        where = "" if message == "ModelConfig" else f"{message}: "
        return f"line {line}: {where}{explain_unknown(name, _find_fields(message))}"
    # It begins with the whole line, quoted; whoever wrote that can find it by its number.
    return f"line {line}: {shorten(_COMPLAINT.sub('', complaint))}"


def _find_fields(message: str) -> Iterable[str]:
    outer, _, inner = message.partition(".")
    descriptor = DESCRIPTOR.message_types_by_name[outer]
    return (descriptor.nested_types_by_name[inner] if inner else descriptor).fields_by_name


def _check_fixed(model: str, config: ModelConfig) -> None:
    """Check the fields that can only say what is so."""
    for field, expected in {
        "name": model,
        "platform": PLATFORM,
        "backend": BACKEND,
        "default_model_filename": ARTIFACT,
    }.items():
        received = getattr(config, field)
        if received not in {"", expected}:
            raise _error(field, quote(expected), quote(received))
    if config.model_transaction_policy.decoupled:
        raise _error("model_transaction_policy.decoupled", "false, one response to each request", "true")


def _read_policy(policy: ModelVersionPolicy) -> VersionPolicy:
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return VersionPolicy()
    if choice == "specific":
        numbers = check_numbers(f"{FILE}: version_policy.specific.versions", policy.specific.versions)
        return VersionPolicy(specific=numbers)
    if choice == "latest":
        count = policy.latest.num_versions
        return VersionPolicy(latest=check_latest(f"{FILE}: version_policy.latest.num_versions", count))
    return _LATEST


def _read_rows(config: ModelConfig) -> int:
    """Return the most rows that run together: the largest preferred batch, if there is one."""
    most = check_count(f"{FILE}: max_batch_size", config.max_batch_size, 0, MOST_ROWS)
    preferred = config.dynamic_batching.preferred_batch_size
    if preferred and not most:
        raise _error("dynamic_batching.preferred_batch_size", "a max_batch_size beside it", "none, or 0")
    field = f"{FILE}: dynamic_batching.preferred_batch_size"
    return max((check_count(field, size, 1, most) for size in preferred), default=most)


def _read_wait_us(config: ModelConfig) -> int | None:
    if not config.HasField("dynamic_batching"):
        return None
    wait_us = config.dynamic_batching.max_queue_delay_microseconds
    return check_count(f"{FILE}: dynamic_batching.max_queue_delay_microseconds", wait_us, 0, MOST_WAIT_US)


def _read_device(groups: Sequence[ModelInstanceGroup]) -> str:
    if not groups:
        return ""
    if len(groups) > 1:
        raise _error("instance_group", "one group: one session runs all requests", f"{len(groups)}")
    group = groups[0]
    if group.count not in {0, 1}:
        raise _error("instance_group[0].count", "1: one session runs all requests", str(group.count))
    if group.kind not in _DEVICES:
        raise _error("instance_group[0].kind", "KIND_AUTO, KIND_CPU or KIND_GPU", _name_kind(group.kind))
    return _DEVICES[group.kind]


def _name_kind(kind: int) -> str:
    known = ModelInstanceGroup.Kind.DESCRIPTOR.values_by_number
    return known[kind].name if kind in known else str(kind)


def _read_classes(folder: Path, outputs: Sequence[ModelOutput]) -> tuple[tuple[str, ...], str]:
    """Return the classes in a label file, and the name of the output that they belong to."""
    labeled = [(place, output) for place, output in enumerate(outputs) if output.label_filename]
    if not labeled:
        return (), ""
    if len(labeled) > 1:
        raise _error("output", "one output with a label_filename", f"{len(labeled)}")
    place, output = labeled[0]
    return read_classes(folder, output.label_filename, f"{FILE}: output[{place}].label_filename"), output.name


def _read_tensors(field: str, tensors: Sequence[ModelInput | ModelOutput]) -> tuple[TensorDeclaration, ...]:
    read = [_read_tensor(f"{field}[{place}]", tensor) for place, tensor in enumerate(tensors)]
    names = [tensor.name for tensor in read]
    if len(set(names)) != len(names):
        raise _error(field, "each name once", "one of them twice")
    return tuple(read)


def _read_tensor(field: str, tensor: ModelInput | ModelOutput) -> TensorDeclaration:
    if not tensor.name:
        raise _error(f"{field}.name", "a name", "none")
    dims = _read_dims(f"{field}.dims", tensor.dims)
    channel_axis = None
    if isinstance(tensor, ModelInput) and tensor.format != ModelInput.FORMAT_NONE:
        channel_axis = _read_channel_axis(f"{field}.format", tensor.format, dims)
    return TensorDeclaration(tensor.name, _read_datatype(field, tensor.data_type), dims, channel_axis)


def _read_dims(field: str, dims: Sequence[int]) -> tuple[int, ...] | None:
    if len(dims) > _MOST_DIMENSIONS:
        raise _error(field, f"at most {_MOST_DIMENSIONS} sizes", str(len(dims)))
    for size in dims:
        if size != -1 and not 1 <= size <= _LARGEST_SIZE:
            raise _error(field, f"sizes from 1 to {_LARGEST_SIZE}, or -1 for an open one", str(size))
    return tuple(dims) or None


def _read_channel_axis(field: str, form: int, dims: tuple[int, ...] | None) -> int:
    if form not in _CHANNEL_AXES:
        raise _error(field, "FORMAT_NONE, FORMAT_NHWC or FORMAT_NCHW", str(form))
    if dims is None or len(dims) != 3:
        raise _error(field, "none, or three dims beside it", f"{len(dims or ())} dims")
    return _CHANNEL_AXES[form]


def _read_datatype(field: str, data_type: int) -> str:
    if data_type not in DataType.values():
        raise _error(f"{field}.data_type", "a TYPE_ of Triton's", str(data_type))
    name = DataType.Name(data_type).removeprefix("TYPE_")
    return {"INVALID": "", "STRING": "BYTES"}.get(name, name)


def _error(field: str, expected: str, received: str) -> ArtifactError:
    return ArtifactError(f"{FILE}: {field}: expected {expected}, received {received}")
