"""grpcio's completion queue, which its own public server is built on, as an interface of ours.

This is the only module that knows `grpc._cython`: nobody promises that it stays as it is. What is used of it is small,
tests/server/test_core.py fails loudly where it changes, and grpcio's public server can take its place at any time.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from grpc._cython import cygrpc  # type: ignore[attr-defined]

from strata_server.scheduling import yielding_threads

TESTED = ("1.81", "1.85")
"""The oldest and the newest release of grpcio that the tests have passed with."""

_NO_FLAGS = 0
_MORE_FOLLOWS = cygrpc.WriteFlag.buffer_hint
_ACCEPTED_AHEAD = 128  # calls that may begin between two polls
_ACCEPT = object()

Trailers: TypeAlias = Sequence[tuple[str, str]]
Handle: TypeAlias = Any
"""A call as grpcio has it, whose types nobody has written down."""
Accept: TypeAlias = Callable[[bytes, float, Handle], None]


class Queue:
    """A gRPC server whose events are handled by whoever polls, one at a time."""

    def __init__(self, address: str, options: Sequence[tuple[str, int]], accept: Accept) -> None:
        """Take the port, without answering on it yet.

        Args:
            address: where to listen; port 0 takes a free one.
            options: of gRPC.
            accept: called by `poll` with each call that begins: its path, such as
                b"/strata.v1.InferenceService/Predict", when its caller waits no more, in seconds since the epoch
                and infinite where it set no deadline, and what to make a `CoreCall` of.

        Raises:
            OSError: the port cannot be had.
        """
        self._accept = accept
        with yielding_threads():
            self._events = cygrpc.CompletionQueue()
            self._server = cygrpc.Server([(name.encode(), value) for name, value in options], False)
        self._server.register_completion_queue(self._events)
        try:
            self.port: int = self._server.add_http2_port(address.encode())
        except RuntimeError as error:
            raise OSError(str(error)) from error
        if not self.port:
            raise OSError("the port is taken")
        self._is_stopping = False
        self._has_stopped = False

    def start(self) -> None:
        """Let calls begin."""
        with yielding_threads():
            self._server.start()
        for _ in range(_ACCEPTED_AHEAD):
            self._request_call()

    def poll(self, timeout_s: float) -> bool:
        """Handle one event; return whether there was one in time. 0 takes only what is there."""
        event = self._events.poll(time.time() + timeout_s if timeout_s else 0)
        if event.completion_type == cygrpc.CompletionType.queue_timeout:
            return False
        if event.tag is _ACCEPT:
            details = event.call_details
            if event.success and details.method:
                self._accept(details.method, details.deadline, event.call)
            if not self._is_stopping:
                self._request_call()
        else:
            event.tag(event)
        return True

    def stop(self) -> None:
        """Take no more calls and end the open ones; keep polling until `has_stopped`."""
        self._is_stopping = True
        self._server.shutdown(self._events, self._note_stop)
        self._server.cancel_all_calls()

    @property
    def has_stopped(self) -> bool:
        """Whether everything has ended."""
        return self._has_stopped

    def close(self) -> None:
        """Give everything back; nothing may be polled any more."""
        self._server.destroy()
        self._events.shutdown()

    def _note_stop(self, event: Any) -> None:
        self._has_stopped = True

    def _request_call(self) -> None:
        self._server.request_call(self._events, self._events, _ACCEPT)


class CoreCall:
    """A call as gRPC has it. Anything may be sent from any thread; what comes in, comes from `Queue.poll`."""

    __slots__ = ("_handle",)

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def receive(self) -> None:
        """Wait for the next message, which `take` gets."""
        self._handle.start_server_batch((cygrpc.ReceiveMessageOperation(_NO_FLAGS),), self._receive)

    def watch(self) -> None:
        """Wait for the end of the call, of which `close` is told."""
        self._handle.start_server_batch((cygrpc.ReceiveCloseOnServerOperation(_NO_FLAGS),), self._close)

    def take(self, data: bytes | None) -> None:
        """Take a message; None means that the caller sends no more."""

    def close(self) -> None:
        """Note that the call is over: it was cancelled, or all has been sent."""

    def _receive(self, event: Any) -> None:
        self.take(event.batch_operations[0].message())

    def _close(self, event: Any) -> None:
        self.close()

    def answer(self, body: bytes, then: Callable[[Any], None]) -> None:
        """Send everything at once: headers, one message, and that all went well."""
        self._handle.start_server_batch(
            (
                cygrpc.SendInitialMetadataOperation((), _NO_FLAGS),
                cygrpc.SendMessageOperation(body, _NO_FLAGS),
                cygrpc.SendStatusFromServerOperation((), cygrpc.StatusCode.ok, b"", _NO_FLAGS),
            ),
            then,
        )

    def refuse(self, code: int, details: str, trailers: Trailers, then: Callable[[Any], None]) -> None:
        """Send headers and a status: the number of its code, a reason, and trailers."""
        self._handle.start_server_batch(
            (
                cygrpc.SendInitialMetadataOperation((), _NO_FLAGS),
                _status_operation(code, details, trailers),
            ),
            then,
        )

    def open(self, then: Callable[[Any], None]) -> None:
        """Send the headers of a stream."""
        self._handle.start_server_batch((cygrpc.SendInitialMetadataOperation((), _NO_FLAGS),), then)

    def send(self, body: bytes, then: Callable[[Any], None], *, more: bool = False) -> None:
        """Send one message of a stream; the next must wait for this one.

        Args:
            body: the message.
            then: called when there is room for the next.
            more: whether the next is there already, so that both may travel together.
        """
        flags = _MORE_FOLLOWS if more else _NO_FLAGS
        self._handle.start_server_batch((cygrpc.SendMessageOperation(body, flags),), then)

    def end(self, code: int, details: str, trailers: Trailers, then: Callable[[Any], None]) -> None:
        """End a stream with a status."""
        self._handle.start_server_batch((_status_operation(code, details, trailers),), then)


def _status_operation(code: int, details: str, trailers: Trailers) -> Any:
    return cygrpc.SendStatusFromServerOperation(tuple(trailers), code, details.encode(), _NO_FLAGS)
