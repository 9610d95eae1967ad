"""The Open Inference Protocol: the core RPCs, as tritonclient and KServe's clients call them.

A layer's name is a valid requested output; without requested outputs the prediction is answered.
"""

from collections.abc import Iterable
from functools import partial
from importlib.metadata import version as distribution_version

from strata_server.catalog import Layer
from strata_server.deadline import Deadline
from strata_server.engine import Answer, Engine, naming
from strata_server.errors import InvalidArgument, NotFound, StrataError, Unimplemented
from strata_server.plans import DEFAULT_PRIORITY
from strata_server.rpc.encoding import SHORT, tag, write_length
from strata_server.rpc.heads import Form, Frame, Heads, Span
from strata_server.rpc.methods import Method, Pending, Response, Rpc, bind_methods
from strata_server.rpc.open_inference import open_inference_pb2 as pb
from strata_server.rpc.open_inference.datatypes import DATATYPES, holds_strings, read_input, write_outputs
from strata_server.tensors import Array

# These change what an answer holds or where it lies: ignoring one would be a wrong answer.
_UNSERVED = ("classification", "shared_memory_region", "sequence_id", "sequence_start", "sequence_end")

# Tags of the fields that a request begins with.
_NAME, _VERSION, _ID = (
    tag(pb.ModelInferRequest.DESCRIPTOR.fields_by_name[name].number) for name in ("model_name", "model_version", "id")
)


def open_inference_services(engine: Engine) -> dict[str, list[Method]]:
    """Return the RPCs of inference.GRPCInferenceService, under its name."""
    service = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    rpcs = {
        "ServerLive": Rpc(server_live, is_heavy=_never),
        "ServerReady": Rpc(server_ready, is_heavy=_never),
        "ModelReady": Rpc(model_ready, is_heavy=_never),
        "ServerMetadata": Rpc(server_metadata),
        "ModelMetadata": Rpc(model_metadata),
        "ModelInfer": Rpc(
            model_infer, is_heavy=_has_elements, shortcut=Heads(Form(_find_id, _find_values, _frame), engine.repository)
        ),
        "ModelStreamInfer": Rpc(
            model_stream_infer,
            is_heavy=_has_elements,
            shortcut=Heads(Form(_find_id, _find_values, _frame, _wrap), engine.repository),
            fail=_fail_in_stream,
        ),
    }
    rpcs |= {name: Rpc(_unserved) for name in service.methods_by_name if name not in rpcs}
    return {service.full_name: bind_methods(service, engine, rpcs)}


def _unserved(engine: Engine, request: object, deadline: Deadline) -> Response:
    raise Unimplemented("not served yet")


def server_live(engine: Engine, request: pb.ServerLiveRequest, deadline: Deadline) -> pb.ServerLiveResponse:
    """Say that the server runs."""
    return pb.ServerLiveResponse(live=True)


def server_ready(engine: Engine, request: pb.ServerReadyRequest, deadline: Deadline) -> pb.ServerReadyResponse:
    """Say that requests are taken: calls are answered only once the models are loaded."""
    return pb.ServerReadyResponse(ready=True)


def model_ready(engine: Engine, request: pb.ModelReadyRequest, deadline: Deadline) -> pb.ModelReadyResponse:
    """Say whether a version takes requests; an unknown one does not, and one that is no number is an error."""
    try:
        engine.repository.find(request.name, request.version)
    except NotFound:
        return pb.ModelReadyResponse(ready=False)
    return pb.ModelReadyResponse(ready=True)


def server_metadata(engine: Engine, request: pb.ServerMetadataRequest, deadline: Deadline) -> pb.ServerMetadataResponse:
    """Name the server and what it serves of the protocol's extensions: none yet."""
    return pb.ServerMetadataResponse(name="strata", version=distribution_version("strata-server"))


def model_metadata(engine: Engine, request: pb.ModelMetadataRequest, deadline: Deadline) -> pb.ModelMetadataResponse:
    """Describe a model's inputs and its default outputs."""
    version = engine.repository.find(request.name, request.version)
    return pb.ModelMetadataResponse(
        name=version.model,
        versions=[str(each.number) for each in engine.repository.find_all(version.model)],
        platform="onnxruntime_onnx",
        inputs=map(_write_metadata, version.catalog.inputs),
        outputs=map(_write_metadata, version.catalog.default_exits),
    )


def model_infer(engine: Engine, request: pb.ModelInferRequest, deadline: Deadline) -> Pending:
    """Compute the layers that are requested as outputs, or the prediction."""
    version = engine.repository.find(request.model_name, request.model_version)
    _refuse_unserved(request)
    with naming(version):
        version.catalog.check_entry_count(len(request.inputs))
        version.catalog.check_exit_count(len(request.outputs))
        inputs = _read_inputs(request)
    deadline, priority = _read_terms(request, deadline)
    if request.outputs:
        layers = [output.name for output in request.outputs]
        question = engine.activations(version, inputs, layers, deadline=deadline, priority=priority)
    else:
        question = engine.predict(version, inputs, deadline=deadline, priority=priority)
    return Pending(question, partial(_write_response, request))


def model_stream_infer(engine: Engine, request: pb.ModelInferRequest, deadline: Deadline) -> Pending:
    """Compute what one request of a stream asks for."""
    pending = model_infer(engine, request, deadline)
    return Pending(pending.question, lambda answer: _wrap_message(_write_response(request, answer)))


def _wrap_message(response: pb.ModelInferResponse) -> pb.ModelStreamInferResponse:
    return pb.ModelStreamInferResponse(infer_response=response)


def _wrap(response: bytes) -> bytes:
    """Return the bytes of a response as those of a stream's."""
    return write_length(pb.ModelStreamInferResponse.INFER_RESPONSE_FIELD_NUMBER, len(response)) + response


def _fail_in_stream(request: pb.ModelInferRequest, error: StrataError) -> pb.ModelStreamInferResponse:
    response = pb.ModelInferResponse(model_name=request.model_name, model_version=request.model_version, id=request.id)
    return pb.ModelStreamInferResponse(error_message=str(error), infer_response=response)


def _read_terms(request: pb.ModelInferRequest, deadline: Deadline) -> tuple[Deadline, int]:
    """Return how long the caller waits, and where it stands among those that wait."""
    if not request.parameters:
        return deadline, DEFAULT_PRIORITY
    timeout_us = _read_count(request, "timeout")
    priority = _read_count(request, "priority")
    return deadline.within(timeout_us / 1e6) if timeout_us else deadline, priority or DEFAULT_PRIORITY


def _read_count(request: pb.ModelInferRequest, name: str) -> int:
    if name not in request.parameters:
        return 0
    parameter = request.parameters[name]
    kind = parameter.WhichOneof("parameter_choice")
    value = getattr(parameter, kind) if kind else None
    if kind not in {"int64_param", "uint64_param"} or value is None or value < 0:
        raise InvalidArgument(f"the parameter {name!r}: expected a whole number from 0 up, received {value!r}")
    return int(value)


def _never(request: object) -> bool:
    return False


def _has_elements(request: pb.ModelInferRequest) -> bool:
    """Say whether values came one by one, each of which becomes an object."""
    return not request.raw_input_contents or holds_strings(request)


def _refuse_unserved(request: pb.ModelInferRequest) -> None:
    named = set(request.parameters)
    named.update(name for tensor in request.inputs for name in tensor.parameters)
    named.update(name for output in request.outputs for name in output.parameters)
    for name in _UNSERVED:
        if name in named:
            raise Unimplemented(f"the parameter {name!r} is not served here")


def _read_inputs(request: pb.ModelInferRequest) -> dict[str, Array]:
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise InvalidArgument(f"expected {len(request.inputs)} raw_input_contents, received {len(raw)}")
    contents: Iterable[bytes | None] = raw or [None] * len(request.inputs)
    arrays = {tensor.name: read_input(tensor, data) for tensor, data in zip(request.inputs, contents, strict=True)}
    if len(arrays) != len(request.inputs):
        raise InvalidArgument("expected each input once, received one of them twice or more")
    return arrays


def _write_response(request: pb.ModelInferRequest, answer: Answer) -> pb.ModelInferResponse:
    """Return the answer in the form of the question: raw bytes, or typed contents where the type has them."""
    response = _describe(answer)
    response.id = request.id
    write_outputs(response, answer.activations.values(), raw=bool(request.raw_input_contents))
    return response


def _describe(answer: Answer) -> pb.ModelInferResponse:
    """Return a response but for its id and values."""
    response = pb.ModelInferResponse(model_name=answer.version.model, model_version=str(answer.version.number))
    for name, value in answer.activations.items():
        response.outputs.add(name=name, datatype=DATATYPES[value.dtype], shape=value.shape)
    return response


def _frame(answer: Answer) -> Frame:
    """Return what stands around the values of a response."""
    response = _describe(answer)
    front = pb.ModelInferResponse(model_name=response.model_name, model_version=response.model_version)
    front_bytes = front.SerializeToString()
    number = pb.ModelInferResponse.RAW_OUTPUT_CONTENTS_FIELD_NUMBER
    marks = [write_length(number, value.nbytes) for value in answer.activations.values()]
    return Frame(front_bytes, response.SerializeToString()[len(front_bytes) :], marks)


def _find_id(data: bytes) -> Span | None:
    """Return where the field of a request's id is: behind the model's name and version."""
    place = 0
    try:
        for mark in (_NAME, _VERSION):
            if data[place] == mark:
                if data[place + 1] >= SHORT:
                    return None
                place += 2 + data[place + 1]
        if data[place] != _ID:
            return Span(place, place)
        return None if data[place + 1] >= SHORT else Span(place, place + 2 + data[place + 1])
    except IndexError:
        return None


def _find_values(request: pb.ModelInferRequest, data: bytes) -> Span | None:
    """Return where the values of a request with one input and no parameters are: at its end."""
    if len(request.inputs) != 1 or len(request.raw_input_contents) != 1:
        return None
    if request.parameters or request.inputs[0].parameters or any(output.parameters for output in request.outputs):
        return None
    length = len(request.raw_input_contents[0])
    mark = write_length(pb.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER, length)
    start = len(data) - length
    return Span(start, len(data)) if data[start - len(mark) : start] == mark else None


def _write_metadata(layer: Layer) -> pb.ModelMetadataResponse.TensorMetadata:
    datatype = DATATYPES[layer.dtype]
    return pb.ModelMetadataResponse.TensorMetadata(name=layer.name, datatype=datatype, shape=layer.shape)
