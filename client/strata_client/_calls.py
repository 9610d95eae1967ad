"""What is asked, and in which order: without the way there and back, which waits or does not.

A *call* is one request and how its answer is read. A *conversation* is a generator that yields calls and is sent
their answers: what needs several calls is written once, for the client that waits and for the one that does not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from google.protobuf.message import DecodeError, Message

from strata_client.errors import InvalidArgument, ServerError, StrataError

Answer = TypeVar("Answer")
_Response = TypeVar("_Response", bound=Message)

_LONGEST_S = 1e8
"""Three years; gRPC counts in nanoseconds of 64 bits."""


@dataclass(frozen=True, slots=True)
class Call(Generic[Answer]):
    """One request."""

    path: str
    """`/SERVICE/METHOD`."""
    body: bytes
    """The message as it travels."""
    read: Callable[[bytes], Answer]
    """Makes of the answer what its caller gets; raises ServerError."""
    is_safe: bool = True
    """Whether it may be made again when nobody knows if the first one was done."""
    address: str = ""
    """The only one that can answer it; empty where all can."""
    tolerated: tuple[type[StrataError], ...] = ()
    """Errors that are an answer as well: the conversation gets them in the place of one."""
    refuse: Callable[[StrataError], StrataError] | None = None
    """Makes of an error what its caller is told."""


Step: TypeAlias = "Call[Any] | Iterable[Call[Any]]"
"""One call, or several that do not wait for each other. They are taken when there is room for them."""
Conversation: TypeAlias = Generator[Step, Any, Answer]
"""Yields steps and is sent the answers: one for a call, a list in their order for several."""


def ask(call: Call[Answer]) -> Conversation[Answer]:
    """Make one call that tolerates nothing."""
    answer: Answer = yield call
    return answer


def attempt(call: Call[Answer]) -> Conversation[Answer | StrataError]:
    """Make one call; a tolerated error is an answer as well."""
    answer: Answer | StrataError = yield call
    return answer


def ask_all(calls: Iterable[Call[Answer]]) -> Conversation[list[Answer | StrataError]]:
    """Make several calls at the same time; tolerated errors stand among the answers."""
    answers: list[Answer | StrataError] = yield calls
    return answers


def reads(response: type[_Response], make: Callable[[_Response], Answer]) -> Callable[[bytes], Answer]:
    """Return what reads a message and makes an answer of it."""

    def read(body: bytes) -> Answer:
        try:
            message = response.FromString(body)
        except DecodeError as error:
            raise ServerError(
                f"the server answered with {len(body):,} bytes that are no {response.__name__}"
            ) from error
        return make(message)

    return read


class Line(Protocol):
    """A call on which many requests go out and many answers come in."""

    def send(self, body: bytes) -> None:
        """Send a message, without waiting; nothing happens on a line that has ended."""
        ...

    def close(self, reason: StrataError | None = None) -> None:
        """End it, and what belongs to it; the reason is noted of its connection."""
        ...


Take: TypeAlias = "Callable[[bytes | StrataError], None]"
"""Takes each message that comes in on a line, and last the error that has ended it; from any thread."""


class Transport(Protocol):
    """The way to whoever answers. Threads may share it."""

    addresses: tuple[str, ...]
    """Of those that answer."""
    width: int
    """How many calls it is worth to make at the same time."""

    def perform(self, call: Call[Any], timeout_s: float) -> bytes:
        """Send a call once and return the answer's message.

        Raises:
            StrataError: there is none.
        """
        ...

    def begin(self, path: str, take: Take, timeout_s: float) -> Line:
        """Begin a call of a method that streams.

        Args:
            path: `/SERVICE/METHOD`.
            take: takes what comes in.
            timeout_s: how long the answer to each message is waited for.

        Raises:
            StrataError: it cannot even be begun.
        """
        ...

    def close(self) -> None:
        """End all calls with Cancelled, those that come later as well."""
        ...


class AsyncLine(Protocol):
    """The same for one event loop."""

    def send(self, body: bytes) -> None:
        """Send a message, without waiting; nothing happens on a line that has ended."""
        ...

    def close(self, reason: StrataError | None = None) -> Awaitable[None]:
        """End it, and what belongs to it; the reason is noted of its connection."""
        ...


class AsyncTransport(Protocol):
    """The same for one event loop."""

    addresses: tuple[str, ...]
    width: int

    def perform(self, call: Call[Any], timeout_s: float) -> Awaitable[bytes]:
        """Send a call once and return the answer's message; a task that is cancelled cancels it."""
        ...

    def begin(self, path: str, take: Take, timeout_s: float) -> AsyncLine:
        """Begin a call of a method that streams; `take` is called in the event loop."""
        ...

    def close(self) -> Awaitable[None]:
        """End all calls with Cancelled, those that come later as well."""
        ...


def check_timeout(timeout_s: float) -> float:
    """Return a number of seconds that a call may take."""
    if 0 < timeout_s <= _LONGEST_S:
        return timeout_s
    raise InvalidArgument(f"timeout_s: expected seconds above 0, {_LONGEST_S:g} at most; received {timeout_s}")


def tell(call: Call[Any], error: StrataError) -> StrataError:
    """Return what the caller of a call is told of an error; raise it where it is not an answer as well."""
    told = call.refuse(error) if call.refuse else error
    if told is not error:
        told.__cause__ = error
    if isinstance(told, call.tolerated):
        return told
    raise told


class Round:
    """The calls of one step: which is next, and what came of each. Whoever performs them takes one at a time."""

    def __init__(self, calls: Iterable[Call[Any]]) -> None:
        self._calls: Iterator[tuple[int, Call[Any]]] = enumerate(calls)
        self._answers: dict[int, Any] = {}
        self._errors: dict[int, BaseException] = {}
        self._taken = 0

    def take(self) -> tuple[int, Call[Any]] | None:
        """Return the next call and its number; None where there is none, or one has failed."""
        if self._errors:
            return None
        try:
            taken = next(self._calls, None)
        except BaseException as error:  # noqa: BLE001 - a file that cannot be read, say: the caller gets it
            self.fail(self._taken, error)
            return None
        self._taken += taken is not None
        return taken

    def keep(self, number: int, answer: object) -> None:
        """Keep the answer of a call."""
        self._answers[number] = answer

    def fail(self, number: int, error: BaseException) -> None:
        """Keep what a call failed with: no other begins."""
        self._errors[number] = error

    def end(self) -> list[Any]:
        """Return the answers in the order of the calls, or raise the first error."""
        if self._errors:
            raise self._errors[min(self._errors)]
        return [self._answers[number] for number in range(self._taken)]
