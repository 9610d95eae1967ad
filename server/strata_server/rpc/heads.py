"""Requests that differ in nothing but their values and their id, recognized by their bytes.

A client that asks the same again and again sends the same bytes around its values each time: model, layers, shapes.
Parsed and checked once, they are recognized, and of the next request only the values are read; what stands around the
values of its response is written once as well. What is not recognized is parsed: this is about speed alone.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from google.protobuf.message import Message

from strata_server.deadline import Deadline
from strata_server.engine import Answer, Question
from strata_server.plans import Task
from strata_server.repository import Repository
from strata_server.rpc.methods import Pending
from strata_server.tensors import Array, write_tensor
from strata_server.traces import Switch

_REMEMBERED = 1024
_LONGEST_HEAD = 4096

Request = TypeVar("Request", bound=Message)


class Span(NamedTuple):
    """A part of a request's bytes."""

    start: int
    stop: int


class Frame(NamedTuple):
    """What stands around the values of a response."""

    front: bytes
    """Before the id."""
    back: bytes
    """Behind the id."""
    marks: list[bytes]
    """Before each value."""


@dataclass(frozen=True)
class Form(Generic[Request]):
    """How the requests and responses of one RPC are laid out."""

    find_id: Callable[[bytes], Span | None]
    """Where the field of the id is in a request, empty where there is none; None where that is not clear."""
    find_values: Callable[[Request, bytes], Span | None]
    """Where the values of its only input are, as they travel; None for a request that is not to be remembered."""
    frame: Callable[[Answer], Frame]
    wrap: Callable[[bytes], bytes] = bytes
    """Makes the message that is sent of the bytes of a response."""


class Heads(Generic[Request]):
    """The heads that came last, each with the question that it asks.

    What a head asks depends on the versions that are served: when these change, all heads are forgotten.
    """

    def __init__(self, form: Form[Request], repository: Repository, pause: Switch | None = None) -> None:
        """Begin without any.

        Args:
            form: how requests and responses are laid out.
            repository: has the versions.
            pause: while it is on, all requests are parsed.
        """
        self._form = form
        self._pause = pause or Switch()
        self._repository = repository
        self._edition = repository.edition
        self._heads: OrderedDict[bytes, _Head[Request]] = OrderedDict()
        self._spans: dict[int, tuple[int, int]] = {}
        """By the size of a request without its id: how many bytes are values, and how many follow them."""
        repository.follow(self._forget)

    def find(self, data: bytes, deadline: Deadline) -> Pending | None:
        """Return what a request asks by its bytes; None for one whose head is new."""
        place = self._form.find_id(data)
        if place is None or self._pause.is_on:
            return None
        start, stop = place
        span = self._spans.get(len(data) - stop + start)
        if span is None:
            return None
        last = len(data) - span[1]
        first = last - span[0]
        head = self._heads.get(data[:start] + data[stop:first] + data[last:])
        return head.ask(data, first, data[start:stop], deadline) if head else None

    @property
    def edition(self) -> int:
        """Which versions are served now; `keep` takes that of the moment before a request was looked at."""
        return self._repository.edition

    def _forget(self) -> None:
        self._edition = self._repository.edition  # first: `keep` on another thread goes the other way round
        self._heads = OrderedDict()

    def keep(self, data: bytes, request: Request, pending: Pending, edition: int) -> None:
        """Remember the head of a request."""
        heads = self._heads
        if edition != self._edition or self._pause.is_on:
            return
        place, values = self._form.find_id(data), self._form.find_values(request, data)
        if place is None or values is None or values.start < place.stop:
            return
        key = data[: place.start] + data[place.stop : values.start] + data[values.stop :]
        ((name, value),) = pending.question.task.entries.items()
        if len(key) > _LONGEST_HEAD or not _is_plain(value) or value.nbytes != values.stop - values.start:
            return
        if not pending.question.task.plan.is_sized:  # what stands around its values differs each time
            return
        if len(heads) >= _REMEMBERED:
            heads.popitem(last=False)
        if len(self._spans) >= _REMEMBERED:
            self._spans.clear()
        self._spans[len(data) - place.stop + place.start] = (value.nbytes, len(data) - values.stop)
        heads[key] = _Head(pending, name, value, self._form)


def _is_plain(value: Array) -> bool:
    """Say whether any bytes are an array of this type: not of booleans and strings, which are checked."""
    return value.dtype != np.bool_ and not value.dtype.hasobject


class _Head(Generic[Request]):
    """What a request asks, known but for its values, and what stands around those of its response."""

    def __init__(self, pending: Pending, name: str, value: Array, form: Form[Request]) -> None:
        self._plan = pending.question.task.plan
        self._priority = pending.question.task.priority
        self._finish = pending.question.finish
        self._write = pending.write
        self._name = name
        self._dtype = value.dtype
        self._shape = value.shape
        self._form = form
        self._known: tuple[list[tuple[int, ...]], Frame] = ([], Frame(b"", b"", []))
        """The shapes of the values answered last, and what stands around them; one pair, for threads share it."""

    def ask(self, data: bytes, first: int, identifier: bytes, deadline: Deadline) -> Pending:
        """Return what a request asks, whose values begin at a place in its bytes.

        Its identifier is the field as it came, with tag and length; empty where there was none.
        """
        count = self._plan.entry_bytes // self._dtype.itemsize
        array = np.frombuffer(data, self._dtype, count, first).reshape(self._shape)
        task = Task(self._plan, {self._name: array}, deadline, self._priority)
        return Pending(Question(task, self._finish), _Writer(self, identifier))

    def write(self, identifier: bytes, answer: Answer) -> Message | bytes:
        """Return the response with an identifier."""
        if answer.channels or answer.labels:
            return self._write(answer)
        values = list(answer.activations.values())
        shapes = [value.shape for value in values]
        known, frame = self._known
        if shapes != known:  # at first, and where only a run tells them
            frame = self._form.frame(answer)
            self._known = (shapes, frame)
        parts = [frame.front, identifier, frame.back]
        for mark, value in zip(frame.marks, values, strict=True):
            parts += (mark, write_tensor(value))
        return self._form.wrap(b"".join(parts))


class _Writer(Generic[Request]):
    """Writes the response to one request."""

    __slots__ = ("_head", "_identifier")

    def __init__(self, head: _Head[Request], identifier: bytes) -> None:
        self._head = head
        self._identifier = identifier

    def __call__(self, answer: Answer) -> Message | bytes:
        return self._head.write(self._identifier, answer)
