"""ModelInfer and ModelStreamInfer: requests computed, alone or on a stream."""

import time
from functools import partial

from strata_server.deadline import Deadline
from strata_server.engine import Question, naming
from strata_server.errors import InvalidArgument, StrataError, Unimplemented, quote
from strata_server.plans import DEFAULT_PRIORITY
from strata_server.reductions import WHOLE
from strata_server.regions import Regions
from strata_server.rpc.methods import Pending
from strata_server.rpc.open_inference import open_inference_pb2 as pb
from strata_server.rpc.open_inference.datatypes import holds_strings, read_input
from strata_server.rpc.open_inference.facilities import Facilities
from strata_server.rpc.open_inference.parameters import check_names, read_choice, read_count, read_flag
from strata_server.rpc.open_inference.places import PLACE_PARAMETERS, read_place
from strata_server.rpc.open_inference.responses import Manner, check_outputs, mark_last, write_in_stream, write_response
from strata_server.rpc.open_inference.wanted import REDUCTION_PARAMETERS, Wanted, is_plain, read_wanted
from strata_server.tensors import Array
from strata_server.version import Version

_SEQUENCES = ("sequence_id", "sequence_start", "sequence_end")
_MARKS_LAST = "triton_enable_empty_final_response"
_KNOWN = (
    "timeout",
    "priority",
    _MARKS_LAST,
    "binary_data_output",
    "content_type",
    *_SEQUENCES,
    *REDUCTION_PARAMETERS,
)
_KNOWN_OF_INPUTS = (*PLACE_PARAMETERS, "binary_data_size", "content_type")


def model_infer(facilities: Facilities, request: pb.ModelInferRequest, deadline: Deadline) -> Pending:
    """Compute the layers that are requested as outputs, or the prediction."""
    question, wanted = _ask(facilities, request, deadline)
    return Pending(question, partial(write_response, _read_manner(request), wanted))


def model_stream_infer(facilities: Facilities, request: pb.ModelInferRequest, deadline: Deadline) -> Pending:
    """Compute what one request of a stream asks for."""
    question, wanted = _ask(facilities, request, deadline)
    return Pending(question, partial(write_in_stream, _read_manner(request), wanted))


def has_elements(request: pb.ModelInferRequest) -> bool:
    """Say whether values become objects one by one, as strings and typed ones do, or lie in shared memory."""
    return len(request.raw_input_contents) < len(request.inputs) or holds_strings(request)


def fail_in_stream(request: pb.ModelInferRequest, error: StrataError) -> pb.ModelStreamInferResponse:
    """Return the response to a request that failed: the stream goes on."""
    response = pb.ModelInferResponse(model_name=request.model_name, model_version=request.model_version, id=request.id)
    if _marks_last(request):
        mark_last(response)
    return pb.ModelStreamInferResponse(error_message=str(error), infer_response=response)


def _read_manner(request: pb.ModelInferRequest) -> Manner:
    # The request itself is let go: its values would lie in memory twice until the answer.
    is_typed = not request.raw_input_contents and any(tensor.HasField("contents") for tensor in request.inputs)
    return Manner(request.id, is_typed, _marks_last(request))


def _marks_last(request: pb.ModelInferRequest) -> bool:
    return _MARKS_LAST in request.parameters and request.parameters[_MARKS_LAST].bool_param


def _ask(facilities: Facilities, request: pb.ModelInferRequest, deadline: Deadline) -> tuple[Question, list[Wanted]]:
    """Return what a request asks, and what is done with each output; nothing where all are answered as they are."""
    traces = facilities.traces
    start_ns = time.monotonic_ns() if traces.switch.is_on else 0
    version = facilities.engine.repository.find(request.model_name, request.model_version)
    with naming(version):
        version.catalog.check_entry_count(len(request.inputs))
        version.catalog.check_exit_count(len(request.outputs))
        deadline, priority = _read_terms(request, deadline)
        wanted = [] if is_plain(request) else _read_wanted(facilities, version, request)
        inputs = _read_inputs(request, facilities.regions)
    if wanted:
        question = _ask_for(facilities, version, inputs, wanted, deadline, priority)
    elif request.outputs:
        layers = [output.name for output in request.outputs]
        question = facilities.engine.activations(version, inputs, layers, deadline=deadline, priority=priority)
    else:
        question = facilities.engine.predict(version, inputs, deadline=deadline, priority=priority)
    if start_ns:
        question.task.trace = traces.begin(version.model, version.number, request.id, start_ns)
    return question, wanted


def _read_wanted(facilities: Facilities, version: Version, request: pb.ModelInferRequest) -> list[Wanted]:
    prediction = [layer.name for layer in version.catalog.default_exits]
    wanted = read_wanted(request, facilities.regions, prediction)
    check_outputs(wanted)
    return wanted


def _ask_for(
    facilities: Facilities,
    version: Version,
    inputs: dict[str, Array],
    wanted: list[Wanted],
    deadline: Deadline,
    priority: int,
) -> Question:
    layers = [each.name for each in wanted]
    reductions = {each.name: each.reduction for each in wanted if each.reduction is not WHOLE}
    question = facilities.engine.activations(version, inputs, layers, reductions, deadline=deadline, priority=priority)
    tops = {each.name: each.top_classes for each in wanted if each.top_classes}
    return facilities.engine.rank(question, tops) if tops else question


def _read_terms(request: pb.ModelInferRequest, deadline: Deadline) -> tuple[Deadline, int]:
    """Return how long the caller waits, and where it stands among those that wait."""
    parameters = request.parameters
    if not parameters:
        return deadline, DEFAULT_PRIORITY
    for name in _SEQUENCES:
        if name in parameters:
            raise Unimplemented(f"the parameter {name!r} is not served here: no model keeps a state between requests")
    check_names("request", parameters, _KNOWN)
    read_choice(parameters, "content_type", ("np",))
    for name in (_MARKS_LAST, "binary_data_output"):
        read_flag(parameters, name)
    timeout_us = read_count(parameters, "timeout")
    priority = read_count(parameters, "priority")
    return deadline.within(timeout_us / 1e6) if timeout_us else deadline, priority or DEFAULT_PRIORITY


def _read_inputs(request: pb.ModelInferRequest, regions: Regions | None) -> dict[str, Array]:
    """Return the values by the names of inputs and layers."""
    raw = request.raw_input_contents
    if not any(tensor.parameters for tensor in request.inputs):
        if raw and len(raw) != len(request.inputs):
            raise InvalidArgument(f"expected {len(request.inputs)} raw_input_contents, received {len(raw)}")
        contents: list[bytes | None] = [*raw] if raw else [None] * len(request.inputs)
    else:
        contents = _gather_contents(request, regions)
    arrays = {tensor.name: read_input(tensor, data) for tensor, data in zip(request.inputs, contents, strict=True)}
    if len(arrays) != len(request.inputs):
        raise InvalidArgument("expected each input once, received one of them twice or more")
    return arrays


def _gather_contents(request: pb.ModelInferRequest, regions: Regions | None) -> list[bytes | None]:
    """Return the raw values of each input, where they are not typed ones: those in shared memory have no raw entry."""
    places = []
    for tensor in request.inputs:
        check_names(f"input {quote(tensor.name)}", tensor.parameters, _KNOWN_OF_INPUTS)
        read_choice(tensor.parameters, "content_type", ("np",))
        places.append(read_place(tensor.parameters, regions))
    if regions:
        regions.check_size(sum(place.byte_size for place in places if place))
    raw = request.raw_input_contents
    expected = sum(place is None for place in places)
    if raw and len(raw) != expected:
        raise InvalidArgument(
            f"expected {expected} raw_input_contents, one for each input outside of shared memory, received {len(raw)}"
        )
    given = iter(raw or [None] * expected)
    return [place.read() if place else next(given) for place in places]
