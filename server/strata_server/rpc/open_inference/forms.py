"""Where the parts of an encoded request and response are, so that repeated ones need no parsing."""

from strata_server.engine import Answer
from strata_server.rpc.encoding import SHORT, tag, write_length
from strata_server.rpc.heads import Form, Frame, Span
from strata_server.rpc.open_inference import open_inference_pb2 as pb
from strata_server.rpc.open_inference.responses import describe

# Tags of the fields that a request begins with.
_NAME, _VERSION, _ID = (
    tag(pb.ModelInferRequest.DESCRIPTOR.fields_by_name[name].number) for name in ("model_name", "model_version", "id")
)


def infer_form() -> Form[pb.ModelInferRequest]:
    """Return the form of ModelInfer."""
    return Form(_find_id, _find_values, _frame)


def stream_form() -> Form[pb.ModelInferRequest]:
    """Return the form of ModelStreamInfer."""
    return Form(_find_id, _find_values, _frame, _wrap)


def _wrap(response: bytes) -> bytes:
    """Return the bytes of a response as those of a stream's."""
    return write_length(pb.ModelStreamInferResponse.INFER_RESPONSE_FIELD_NUMBER, len(response)) + response


def _frame(answer: Answer) -> Frame:
    """Return what stands around the values of a response."""
    response = describe(answer)
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
