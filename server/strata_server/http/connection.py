"""A connection of HTTP, whose caller is not waited for without end."""

import asyncio
import socket
import sys

import h11
import orjson
from uvicorn.protocols.http.h11_impl import H11Protocol

_MOST_CONNECTIONS = 1024  # of one process
_HEADERS_S = 10.0
_READING_S = 15.0
_LONGEST_REASON = 200


class Connection(H11Protocol):
    """uvicorn's connection, with a bound on headers that do not come and answers that are not read."""

    _waiting: asyncio.TimerHandle | None = None
    _unread_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, unless there are too many."""
        super().connection_made(transport)
        # asyncio leaves that to sockets that say TCP themselves; without it a small answer waits 40 ms.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if len(self.connections) > _MOST_CONNECTIONS:
            transport.abort()
            return
        self._await_headers()

    def data_received(self, data: bytes) -> None:
        """Take bytes: those of headers must become a request soon."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._await_headers()
        else:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._stop_waiting()
        super().connection_lost(exc)

    def timeout_keep_alive_handler(self) -> None:
        """Close when nothing has come for a while, and break off where the last answer is not read either."""
        super().timeout_keep_alive_handler()
        self._check_reading()

    def send_400_response(self, msg: str) -> None:
        """Tell that something is no HTTP as every error is told, and close."""
        if self.conn.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            self.transport.close()
            return
        # uvicorn calls this while it handles what h11 has found.
        received = str(sys.exception() or msg)[:_LONGEST_REASON]
        body = orjson.dumps({"error": f"expected a request of HTTP/1.1; received another: {received}"})
        headers = [
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
            ("x-content-type-options", "nosniff"),
            ("connection", "close"),
        ]
        for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _await_headers(self) -> None:
        if self._waiting is None:
            self._waiting = self.loop.call_later(_HEADERS_S, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._waiting:
            self._waiting.cancel()
            self._waiting = None

    def _check_reading(self) -> None:
        unread = self.transport.get_write_buffer_size()
        if unread and unread == self._unread_bytes:
            self.transport.abort()
        elif unread:
            self._unread_bytes = unread
            self.loop.call_later(_READING_S, self._check_reading)
