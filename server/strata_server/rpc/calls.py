"""One call, from its bytes to the bytes of its answer, without a transport."""

import logging
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from strata_server.errors import DeadlinePassed, Draining, InvalidArgument, StrataError
from strata_server.rpc.methods import Method

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
    """The calls that run now, and whether new ones are taken."""

    def __init__(self) -> None:
        self._running = 0
        self._draining = False
        self._changed = threading.Condition()

    @property
    def running(self) -> int:
        """How many run now."""
        return self._running

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Count a call as long as it runs.

        Raises:
            Draining: the server takes no new ones.
        """
        with self._changed:
            if self._draining:
                raise Draining("the server is stopping and takes no new calls")
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def drain(self, timeout_s: float) -> bool:
        """Take no new calls and wait for the running ones; return whether all have ended in time."""
        with self._changed:
            self._draining = True
            return self._changed.wait_for(lambda: self._running == 0, timeout_s)


def answer(calls: Calls, method: Method, data: bytes, remaining_s: float | None) -> Reply:
    """Return the reply to one call.

    Args:
        calls: counts it.
        method: what was called.
        data: the request as it came.
        remaining_s: seconds left until the caller's deadline; None where it has none.
    """
    try:
        with calls.admitted():
            return _run(method, data, remaining_s)
    except StrataError as error:
        trailers = () if error.retry else (("grpc-retry-pushback-ms", "-1"),)
        return Reply(status=error.status, details=str(error), trailers=trailers)
    except Exception:
        # What went wrong inside is ours to know: the caller gets a number to ask about, the log the rest.
        request_id = uuid.uuid4().hex[:12]
        log.exception("request %s: %s.%s failed", request_id, method.service, method.name)
        return Reply(
            status="INTERNAL", details=f"internal error; the server's log says more under {request_id}"
        )


def _run(method: Method, data: bytes, remaining_s: float | None) -> Reply:
    if remaining_s is not None and remaining_s <= 0:
        raise DeadlinePassed("the deadline was over before the request was run")
    try:
        request = method.request.FromString(data)
    except DecodeError as error:
        expected = method.request.DESCRIPTOR.full_name
        raise InvalidArgument(
            f"expected a message {expected}, received {len(data)} bytes that are none"
        ) from error
    return Reply(body=method.handle(request).SerializeToString())
