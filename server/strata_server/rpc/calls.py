"""One call, from its bytes to the bytes of its answer, without a transport."""

import logging
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from google.protobuf.message import DecodeError

from strata_server.deadline import Deadline
from strata_server.errors import DeadlinePassed, Draining, InvalidArgument, OverLimit, StrataError
from strata_server.rpc.methods import Method

_LONGEST_DETAILS = 1000  # they travel in a header, and headers are limited
_ENVELOPE_BYTES = 2**16  # names, shapes and tags around an answer's values

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reply:
    """What goes back: a body, or a status with its reason."""

    body: bytes = b""
    status: str = "OK"
    """The name of the gRPC status code."""
    details: str = ""
    trailers: tuple[tuple[str, str], ...] = ()


class Calls:
    """The calls between their arrival and the end of their answer's way, and those of them that run."""

    def __init__(self, most_running: int = 32) -> None:
        """Count from zero; no more than `most_running` calls run at once, more wait."""
        self._open = 0
        self._draining = False
        self._changed = threading.Condition()
        self._slots = threading.Semaphore(most_running)

    @property
    def open(self) -> int:
        """How many have come and are not answered to the end."""
        return self._open

    def enter(self) -> None:
        """Count a call; `leave` must follow.

        Raises:
            Draining: the server takes no new ones.
        """
        with self._changed:
            if self._draining:
                raise Draining("the server is stopping and takes no new calls")
            self._open += 1

    def leave(self) -> None:
        """Count a call no more."""
        with self._changed:
            self._open -= 1
            self._changed.notify_all()

    @contextmanager
    def running(self, deadline: Deadline) -> Iterator[None]:
        """Wait for the call's turn, and give it back at the end.

        Raises:
            DeadlinePassed: nobody waits for the call any more.
        """
        self._take_turn(deadline)
        deadline.waiting = partial(self._pausing, deadline)
        try:
            yield
        finally:
            self._slots.release()

    @contextmanager
    def _pausing(self, deadline: Deadline) -> Iterator[None]:
        self._slots.release()
        try:
            yield
        finally:
            # Whatever happened in between: `running` gives the turn back at its end, so it must be had again.
            self._slots.acquire()
        deadline.check()

    def _take_turn(self, deadline: Deadline) -> None:
        taken = self._slots.acquire(timeout=deadline.remaining_s)
        try:
            deadline.check()
        except DeadlinePassed:
            if taken:
                self._slots.release()
            raise

    def drain(self, timeout_s: float) -> bool:
        """Take no new calls and wait for the open ones; return whether all have ended in time."""
        with self._changed:
            self._draining = True
            return self._changed.wait_for(lambda: self._open == 0, timeout_s)


def answer(calls: Calls, method: Method, data: bytes, deadline: Deadline, max_bytes: int) -> Reply:
    """Return the reply to one call.

    Args:
        calls: says when it is its turn.
        method: what was called.
        data: the request as it came.
        deadline: how long the caller waits.
        max_bytes: the largest answer.
    """
    try:
        with calls.running(deadline):
            return Reply(body=_run(method, data, deadline, max_bytes))
    except StrataError as error:
        return refuse(error)
    except Exception:
        # What went wrong inside is ours to know: the caller gets a number to ask about, the log the rest.
        request_id = uuid.uuid4().hex[:12]
        log.exception("request %s: %s.%s failed", request_id, method.service, method.name)
        return Reply(status="INTERNAL", details=f"internal error; the server's log says more under {request_id}")


def refuse(error: StrataError) -> Reply:
    """Return the reply that tells an error of ours."""
    trailers = (("grpc-retry-pushback-ms", "-1"),) if isinstance(error, OverLimit) else ()
    return Reply(status=error.status, details=str(error)[:_LONGEST_DETAILS], trailers=trailers)


def _run(method: Method, data: bytes, deadline: Deadline, max_bytes: int) -> bytes:
    try:
        request = method.request.FromString(data)
    except DecodeError as error:
        expected = method.request.DESCRIPTOR.full_name
        raise InvalidArgument(f"expected a message {expected}, received {len(data)} bytes that are none") from error
    body = method.handle(request, deadline).SerializeToString()
    if len(body) > max_bytes + _ENVELOPE_BYTES:
        raise OverLimit(f"expected an answer of at most {max_bytes} bytes, received a request for {len(body)}")
    return body
