"""Many small requests on one call, for threads; and how its messages are made, for event loops as well."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Generic, TypeAlias, TypeVar

from google.protobuf.message import Message
from strata.v1.inference_pb2 import StreamRequest, StreamResponse

from strata_client import _shared
from strata_client._calls import Line, Take, Transport, reads
from strata_client._course import Course
from strata_client._rows import enter
from strata_client._shared import Inputs
from strata_client._status import read_error
from strata_client.activations import Activations
from strata_client.errors import Cancelled, ResourceExhausted, ServerError, StrataError
from strata_client.predictions import Predictions
from strata_client.reductions import Reduce
from strata_client.retries import Retries, choose_wait

WINDOW = 64
"""How many requests are on their way, unless told otherwise: enough for two batches of a small network."""
PATH = "/strata.v1.InferenceService/Stream"

_ENVELOPE_BYTES = 64
"""More than the id and the time of a request take beside what is asked."""

Answer = TypeVar("Answer")
Mark: TypeAlias = "tuple[object, bytes | StrataError]"
"""What came in on a line, and which line that was."""


@dataclass(frozen=True)
class Form(Generic[Answer]):
    """How inputs are written and answers are read."""

    template: StreamRequest
    """A request without inputs."""
    make: Callable[[Any], Answer]
    """Makes the answer of the response's message of the same kind."""
    max_bytes: int

    @property
    def kind(self) -> str:
        """Which field of a request, and of a response, it is about."""
        return self.template.WhichOneof("request") or ""

    def write(self, inputs: Inputs) -> StreamRequest:
        """Write the request for some inputs.

        Raises:
            StrataError: they cannot be sent.
            TypeError: they are nothing that enters a network.
        """
        rows = enter(inputs, self.max_bytes)
        fields, stop = rows.write(0, rows.count, self.max_bytes)
        request = StreamRequest()
        request.CopyFrom(self.template)
        asked: Message = getattr(request, self.kind)
        for name, value in fields.items():
            getattr(asked, name).CopyFrom(value)
        if stop < rows.count or request.ByteSize() + _ENVELOPE_BYTES > self.max_bytes:
            raise ResourceExhausted(
                f"the input has more bytes than max_message_bytes, which is {self.max_bytes:,}: a stream sends each in "
                "one request, so put fewer rows into one"
            )
        return request

    def read(self, response: StreamResponse) -> Answer:
        """Read what came.

        Raises:
            StrataError: an error, or what is no answer.
        """
        kind = response.WhichOneof("response")
        if kind == "error":
            raise read_error(response.error)
        if kind != self.kind:
            raise ServerError(f"the server answered with {kind}; asked was {self.kind}")
        return self.make(getattr(response, kind))


def form_predictions(model: str, top: int, max_bytes: int) -> Form[Predictions]:
    """Return how predictions are asked for."""
    template = StreamRequest(predict=_shared.write_predict({}, model, top))
    return Form(template, _shared.read_predictions, max_bytes)


def form_activations(model: str, layers: Sequence[str], reduce: Reduce, max_bytes: int) -> Form[Activations]:
    """Return how activations are asked for."""
    names = tuple(layers) if not isinstance(layers, str) else layers
    template = StreamRequest(get_activations=_shared.write_activations({}, model, names, reduce))
    return Form(template, lambda response: _shared.read_activations(response, names), max_bytes)


def begin(form: Form[Answer], retries: Retries, window: int, timeout_s: float) -> Course[Inputs, Answer]:
    """Return the course of a stream; errors as `Course` has them."""

    def repeat(error: StrataError, sent: int) -> float | None:
        return choose_wait(retries, sent, error, timeout_s)

    return Course(form.write, form.read, repeat, window, timeout_s)


class Wire(Generic[Answer]):
    """Takes what comes in on the line of a stream; what comes from lines before it is passed over."""

    def __init__(self, course: Course[Inputs, Answer]) -> None:
        self._course = course
        self._key: object = None
        """Tells the line from those before it; None while there is none."""

    def renew(self, put: Callable[[Mark], None]) -> Take:
        """Begin with another line; return what puts everything that comes from it, marked."""
        key = self._key = object()
        return lambda what: put((key, what))

    @property
    def is_open(self) -> bool:
        """Whether there is a line."""
        return self._key is not None

    def leave(self) -> StrataError | None:
        """Give up a line on which nothing comes any more; return why, where it is given up."""
        reason = self._course.leave(monotonic())
        if reason:
            self._key = None
        return reason

    def take(self, mark: Mark) -> None:
        """Take a message, or the end of a line.

        Raises:
            Cancelled: the client was closed.
        """
        key, what = mark
        if key is not self._key:
            return
        try:
            response = _read(what)
        except Cancelled:
            raise
        except StrataError as error:
            self._key = None
            self._course.lose(error, monotonic())
        else:
            self._course.receive(response, monotonic())


def stream(
    transport: Transport, course: Course[Inputs, Answer], inputs: Iterator[Inputs], timeout_s: float
) -> Iterator[Answer | StrataError]:
    """Give the outcomes of a course.

    Inputs are taken by whoever takes the outcomes: one for each outcome, and more while the next one is not there. No
    thread is left waiting for an input that never comes.
    """
    wire = _ThreadWire(transport, course, timeout_s)
    try:
        while not course.is_done:
            if course.wants_more:
                for item in take_next(course, inputs):
                    course.offer(item, monotonic())
            wire.receive(0)  # what came while the caller was elsewhere is not late
            wire.send()
            wire.receive(0)
            if course.is_ready:
                yield course.give()
            elif course.is_waiting and not course.wants_more:
                wire.receive(course.wait_s(monotonic()))
        course.finish()
    finally:
        wire.close()


def take_next(course: Course[Inputs, Answer], inputs: Iterator[Inputs]) -> list[Inputs]:
    """Return the next of the inputs of a course; none where they have ended, which the course is told."""
    try:
        return [next(inputs)]
    except StopIteration:
        course.end()
    except Exception as error:  # noqa: BLE001 - the caller gets it, after what was asked before
        course.end(error)
    return []


class _ThreadWire(Wire[Answer]):
    """A wire of threads."""

    def __init__(self, transport: Transport, course: Course[Inputs, Answer], timeout_s: float) -> None:
        super().__init__(course)
        self._transport = transport
        self._timeout_s = timeout_s
        self._line: Line | None = None
        self._came: queue.SimpleQueue[Mark] = queue.SimpleQueue()

    def send(self) -> None:
        """Send what is to be sent now, on a new line if need be."""
        if reason := self.leave():
            self.close(reason)
        for request in self._course.take_due(monotonic()):
            if self._line is None or not self.is_open:
                self.close()
                self._line = self._transport.begin(PATH, self.renew(self._came.put), self._timeout_s)
            self._line.send(request.SerializeToString())

    def receive(self, wait_s: float) -> None:
        """Take what has come; where nothing has, wait so long for it."""
        try:
            self.take(self._came.get(timeout=wait_s) if wait_s else self._came.get_nowait())
            while True:
                self.take(self._came.get_nowait())
        except queue.Empty:
            return

    def close(self, reason: StrataError | None = None) -> None:
        """End the line."""
        if self._line is not None:
            self._line.close(reason)
            self._line = None


_read_response = reads(StreamResponse, lambda response: response)


def _read(what: bytes | StrataError) -> StreamResponse:
    if isinstance(what, StrataError):
        raise what
    return _read_response(what)
