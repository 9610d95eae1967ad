"""Requests of the Open Inference Protocol that differ in nothing but their values and their id.

A client that asks the same again and again sends the same head each time: model, layers, shapes. Parsed and checked
once, it is recognized by its bytes, and of the next request only the values are read; the response's head is written
once as well. What is not recognized is parsed, so this is about speed alone.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial

import numpy as np

from strata_server.deadline import Deadline
from strata_server.engine import Answer, Question
from strata_server.plans import Task
from strata_server.rpc import open_inference_pb2 as pb
from strata_server.rpc.methods import Pending
from strata_server.tensors import Array, write_tensor

_REMEMBERED = 1024
_LONGEST_HEAD = 2048
_SHORT = 0x80  # a length below it takes one byte
_RAW_INPUT = pb.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER
_RAW_OUTPUT = pb.ModelInferResponse.RAW_OUTPUT_CONTENTS_FIELD_NUMBER


class Heads:
    """The heads that came last, each with the question that it asks."""

    def __init__(self, describe: Callable[[Answer], pb.ModelInferResponse], wrap: Callable[[bytes], bytes]) -> None:
        """Remember none yet.

        Args:
            describe: writes a response without id and values.
            wrap: makes the message that is sent of the bytes of a response.
        """
        self._describe = describe
        self._wrap = wrap
        self._heads: OrderedDict[bytes, _Head] = OrderedDict()
        self._value_bytes: dict[int, int] = {}
        """How many bytes are values, by the size of a request without its id."""

    def find(self, data: bytes, deadline: Deadline) -> Pending | None:
        """Return what a request asks by its bytes; None for one whose head is new."""
        place = _find_id(data)
        if not place:
            return None
        start, stop = place
        value_bytes = self._value_bytes.get(len(data) - stop + start)
        if value_bytes is None:
            return None
        values = len(data) - value_bytes
        head = self._heads.get(data[:start] + data[stop:values])
        return head.ask(data, values, data[start:stop], deadline) if head else None

    def keep(self, data: bytes, request: pb.ModelInferRequest, pending: Pending) -> None:
        """Remember the head of a request with one input, whose values are its last bytes, and no parameters."""
        if len(request.inputs) != 1 or len(request.raw_input_contents) != 1 or _has_parameters(request):
            return
        task = pending.question.task
        ((name, value),) = task.entries.items()
        place = _find_id(data)
        mark = write_length(_RAW_INPUT, value.nbytes)
        values = len(data) - value.nbytes
        is_last = data[values - len(mark) : values] == mark
        if value.dtype == np.bool_ or not place or not is_last or values > _LONGEST_HEAD:
            return
        start, stop = place
        if values - len(mark) < stop:
            return
        self._value_bytes[len(data) - stop + start] = value.nbytes
        self._heads[data[:start] + data[stop:values]] = _Head(pending.question, name, value, self._describe, self._wrap)
        if len(self._heads) > _REMEMBERED:
            self._heads.popitem(last=False)
        if len(self._value_bytes) > _REMEMBERED:
            self._value_bytes.clear()


class _Head:
    """What a request asks, known but for its values; and the head of its response, the same while its shapes are."""

    def __init__(
        self,
        question: Question,
        name: str,
        value: Array,
        describe: Callable[[Answer], pb.ModelInferResponse],
        wrap: Callable[[bytes], bytes],
    ) -> None:
        self._plan = question.task.plan
        self._finish = question.finish
        self._name = name
        self._dtype = value.dtype
        self._shape = value.shape
        self._describe = describe
        self._wrap = wrap
        self._shapes: list[tuple[int, ...]] = []
        self._front = self._back = b""
        self._marks: list[bytes] = []

    def ask(self, data: bytes, values: int, identifier: bytes, deadline: Deadline) -> Pending:
        """Return what a request asks, whose values begin at a place in its bytes.

        Its identifier is the field as it came, with tag and length; empty where there was none.
        """
        array = np.frombuffer(data, self._dtype, offset=values).reshape(self._shape)
        task = Task(self._plan, {self._name: array}, deadline)
        return Pending(Question(task, self._finish), partial(self._write, identifier))

    def _write(self, identifier: bytes, answer: Answer) -> bytes:
        values = list(answer.activations.values())
        if [value.shape for value in values] != self._shapes:
            self._learn(answer, values)
        parts = [self._front, identifier, self._back]
        for mark, value in zip(self._marks, values, strict=True):
            parts += (mark, write_tensor(value))
        return self._wrap(b"".join(parts))

    def _learn(self, answer: Answer, values: list[Array]) -> None:
        response = self._describe(answer)
        front = pb.ModelInferResponse(model_name=response.model_name, model_version=response.model_version)
        self._front = front.SerializeToString()
        self._back = response.SerializeToString()[len(self._front) :]
        self._marks = [write_length(_RAW_OUTPUT, value.nbytes) for value in values]
        self._shapes = [value.shape for value in values]


def _has_parameters(request: pb.ModelInferRequest) -> bool:
    return bool(request.parameters or request.inputs[0].parameters or any(each.parameters for each in request.outputs))


def _find_id(data: bytes) -> tuple[int, int] | None:
    """Return where the field of the id begins and ends, behind the model's name and version; None where unclear."""
    place = 0
    try:
        for tag in (_NAME, _VERSION):
            if data[place] == tag:
                if data[place + 1] >= _SHORT:
                    return None
                place += 2 + data[place + 1]
        if data[place] != _ID:
            return place, place
        return None if data[place + 1] >= _SHORT else (place, place + 2 + data[place + 1])
    except IndexError:
        return None


def write_length(number: int, length: int) -> bytes:
    """Return what stands before the bytes of a field in protobuf's encoding: its tag and its length."""
    mark = bytearray([_tag(number)])
    while length >= _SHORT:
        mark.append(length & 0x7F | _SHORT)
        length >>= 7
    mark.append(length)
    return bytes(mark)


def _tag(number: int) -> int:
    """Return the tag of a field that has a length."""
    return number << 3 | 2


_NAME, _VERSION, _ID = (
    _tag(number)
    for number in (
        pb.ModelInferRequest.MODEL_NAME_FIELD_NUMBER,
        pb.ModelInferRequest.MODEL_VERSION_FIELD_NUMBER,
        pb.ModelInferRequest.ID_FIELD_NUMBER,
    )
)
