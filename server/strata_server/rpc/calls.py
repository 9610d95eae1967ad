"""Calls between their arrival and the end of their answer's way, without a transport."""

import queue
import threading
from dataclasses import dataclass
from typing import Protocol

import grpc

from strata_server.deadline import Deadline
from strata_server.errors import (
    AlreadyExists,
    DeadlinePassed,
    Draining,
    HungUp,
    InvalidArgument,
    NotFound,
    OverLimit,
    Overloaded,
    PermissionDenied,
    StrataError,
    Unimplemented,
    Unservable,
)

_LONGEST_DETAILS = 1000  # they travel in a header, and headers are limited
_LONGEST_RETRY_MS = 60_000
PUSHBACK = "grpc-retry-pushback-ms"
_CODES = {code.name: code.value[0] for code in grpc.StatusCode}
_KINDS: dict[str, type[StrataError]] = {
    kind.status: kind
    for kind in (
        NotFound,
        InvalidArgument,
        DeadlinePassed,
        HungUp,
        Draining,
        Unimplemented,
        PermissionDenied,
        AlreadyExists,
        Unservable,
    )
}


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back: a body, or a status with its reason."""

    body: bytes = b""
    status: str = "OK"
    """The name of the gRPC status code."""
    details: str = ""
    trailers: tuple[tuple[str, str], ...] = ()

    @property
    def code(self) -> int:
        """The number of the gRPC status code."""
        return _CODES[self.status]


class Call(Protocol):
    """One request on its way through the server."""

    deadline: Deadline
    """How long its caller waits."""

    def reply(self, reply: Reply) -> None:
        """Send the answer; called once, from any thread."""


class WaitingCall:
    """A call whose thread waits for its answer."""

    def __init__(self, deadline: Deadline) -> None:
        self.deadline = deadline
        self._reply: queue.SimpleQueue[Reply] = queue.SimpleQueue()

    def reply(self, reply: Reply) -> None:
        """Hand the answer to the thread that waits."""
        self._reply.put(reply)

    def wait(self, timeout_s: float | None = None) -> Reply:
        """Return the answer when it is there.

        Raises:
            queue.Empty: it is not within `timeout_s` seconds; None waits for ever.
        """
        return self._reply.get(timeout=timeout_s)


class Calls:
    """How many calls are between their arrival and the end of their answer's way."""

    def __init__(self) -> None:
        self._open = 0
        self._draining = False
        self._lock = threading.Lock()
        self._ended = threading.Condition(self._lock)

    @property
    def open(self) -> int:
        """How many have come and are not answered to the end."""
        return self._open

    def enter(self) -> None:
        """Count a call; `leave` must follow.

        Raises:
            Draining: the server takes no new ones.
        """
        with self._lock:
            if self._draining:
                raise Draining("the server is stopping and takes no new calls")
            self._open += 1

    def leave(self) -> None:
        """Count a call no more."""
        with self._lock:
            self._open -= 1
            if self._draining and not self._open:
                self._ended.notify_all()

    def drain(self, timeout_s: float | None) -> bool:
        """Take no new calls and wait for the open ones; return whether all have ended in time, None for any."""
        with self._lock:
            self._draining = True
            return self._ended.wait_for(lambda: self._open == 0, timeout_s)


def refuse(error: StrataError) -> Reply:
    """Return the reply that tells an error of ours."""
    return Reply(status=error.status, details=str(error)[:_LONGEST_DETAILS], trailers=_retry(error))


def read_refusal(reply: Reply) -> StrataError:
    """Return the error of ours that a reply tells: `refuse` the other way round."""
    if reply.status != Overloaded.status:
        return _KINDS.get(reply.status, StrataError)(reply.details)
    pushback_ms = int(dict(reply.trailers)[PUSHBACK])
    return OverLimit(reply.details) if pushback_ms < 0 else Overloaded(reply.details, pushback_ms / 1000)


def _retry(error: StrataError) -> tuple[tuple[str, str], ...]:
    """Return the trailer that says when to try again: -1 for never."""
    match error:
        case OverLimit():
            pushback = -1
        case Overloaded():
            pushback = min(max(1, round(error.retry_s * 1000)), _LONGEST_RETRY_MS)
        case _:
            return ()
    return ((PUSHBACK, str(pushback)),)
