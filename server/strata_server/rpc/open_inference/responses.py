"""Answers as the responses that tell them."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from strata_server.datatypes import DATATYPES
from strata_server.elements import STRING
from strata_server.engine import Answer, class_names
from strata_server.errors import InvalidArgument, quote
from strata_server.labels import Label
from strata_server.rpc.open_inference import open_inference_pb2 as pb
from strata_server.rpc.open_inference.datatypes import CONTENTS, write_contents
from strata_server.rpc.open_inference.places import BYTE_SIZE, OFFSET, REGION, Place
from strata_server.rpc.open_inference.wanted import Wanted
from strata_server.tensors import Array, write_tensor

_CHANNELS = ".channels"
_LABELS = ".labels"


@dataclass(frozen=True)
class Manner:
    """How a request wants to be answered, without what it holds itself."""

    id: str
    is_typed: bool
    """Whether its values came one by one, and go so where their type can."""
    marks_last: bool
    """Whether the last response to a request of a stream is to say so: here each one is."""


class _Output(NamedTuple):
    """One tensor of a response; its values are numbers, or texts in an array of objects."""

    name: str
    value: Array
    place: Place | None = None


def check_outputs(wanted: list[Wanted]) -> None:
    """Refuse outputs of which two would have the same name, or the same place.

    Raises:
        InvalidArgument: a layer is called as what comes beside another, or parts of shared memory overlap.
    """
    names = Counter(each.name for each in wanted)
    names.update({each.name + _CHANNELS for each in wanted if each.reduction.top})
    names.update({each.name + _LABELS for each in wanted if each.reduction.top_labels})
    for name, times in names.items():
        if times > 1 and name.endswith((_CHANNELS, _LABELS)):
            raise InvalidArgument(f"expected each output once, received {quote(name)} {times} times")
    places = sorted((each.place for each in wanted if each.place), key=lambda place: (place.name, place.offset))
    for one, other in pairwise(places):
        if one.name == other.name and one.offset + one.byte_size > other.offset:
            raise InvalidArgument(
                "shared memory: expected outputs in parts that do not overlap, "
                f"received {one.byte_size} bytes from {one.offset} and {other.byte_size} from {other.offset}"
            )


def write_response(manner: Manner, wanted: list[Wanted], answer: Answer) -> pb.ModelInferResponse:
    """Return the answer in the form of the question: raw bytes, or typed contents where the type has them.

    Args:
        manner: of the question.
        wanted: what is done with each output; nothing where all are answered as they are.
        answer: to it.
    """
    outputs = list(_list_outputs(wanted, answer))
    response = describe(answer, outputs)
    response.id = manner.id
    if (
        manner.is_typed
        and not any(output.place for output in outputs)
        and all(DATATYPES[each.value.dtype] in CONTENTS for each in outputs)
    ):
        for told, output in zip(response.outputs, outputs, strict=True):
            write_contents(told, output.value)
        return response
    written = [write_tensor(output.value) for output in outputs]
    for output, data in zip(outputs, written, strict=True):  # all of them, before any is written
        if output.place:
            output.place.check_room(len(data))
    for told, output, data in zip(response.outputs, outputs, written, strict=True):
        if output.place:
            output.place.write(data)
            _tell_place(told, output.place, len(data))
        # An empty entry stands for an output elsewhere: clients count the entries to find one.
        response.raw_output_contents.append(b"" if output.place else data)
    return response


def write_in_stream(manner: Manner, wanted: list[Wanted], answer: Answer) -> pb.ModelStreamInferResponse:
    """Return the answer to a request of a stream; arguments as in `write_response`."""
    response = write_response(manner, wanted, answer)
    if manner.marks_last:
        mark_last(response)
    return pb.ModelStreamInferResponse(infer_response=response)


def mark_last(response: pb.ModelInferResponse) -> None:
    """Let a response say that no other follows for its request."""
    response.parameters["triton_final_response"].bool_param = True


def describe(answer: Answer, outputs: list[_Output] | None = None) -> pb.ModelInferResponse:
    """Return a response but for its id and values."""
    response = pb.ModelInferResponse(model_name=answer.version.model, model_version=str(answer.version.number))
    for output in _list_outputs([], answer) if outputs is None else outputs:
        response.outputs.add(name=output.name, datatype=DATATYPES[output.value.dtype], shape=output.value.shape)
    return response


def _list_outputs(wanted: list[Wanted], answer: Answer) -> Iterator[_Output]:
    if not wanted:
        for name, value in answer.activations.items():
            yield _Output(name, value)
        return
    for each in wanted:
        ranking = answer.rankings.get(each.name)
        value = answer.activations[each.name]
        if ranking is not None:
            value = _write_classes(ranking, named=bool(class_names(answer.version, each.name, value.shape[1])))
        yield _Output(each.name, value, each.place)
        if each.name in answer.channels:
            yield _Output(each.name + _CHANNELS, answer.channels[each.name])
        if each.reduction.top_labels:
            yield _Output(each.name + _LABELS, _write_labels(answer.labels))


def _write_classes(ranking: list[list[Label]], *, named: bool) -> Array:
    """Return (rows, top) texts: the score, the index, and the name where the class has one."""
    texts = [
        [f"{label.score:f}:{label.index}" + (f":{label.name}" if named else "") for label in row] for row in ranking
    ]
    return _array_of(texts)


def _write_labels(labels: list[list[Label]]) -> Array:
    return _array_of([[label.name for label in row] for row in labels])


def _array_of(texts: list[list[str]]) -> Array:
    array = np.empty((len(texts), len(texts[0])), STRING)
    array[:] = texts
    return array


def _tell_place(output: pb.ModelInferResponse.InferOutputTensor, place: Place, byte_size: int) -> None:
    output.parameters[REGION].string_param = place.name
    output.parameters[OFFSET].int64_param = place.offset
    output.parameters[BYTE_SIZE].int64_param = byte_size
