"""A connection of HTTP, whose caller is not waited for without end."""

import asyncio
import socket
import sys

import h11
import orjson
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from strata_server.http.bodies import PATIENCE_S
from strata_server.http.pace import Pace

_MOST_CONNECTIONS = 1024  # of one process
_HEADERS_S = 10.0
_LONGEST_REASON = 200
_UNSENT_BYTES = 2**17


class Connection(H11Protocol):
    """uvicorn's connection, with a bound on headers that do not come and answers that are not read."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, unless there are too many."""
        super().connection_made(transport)
        # asyncio leaves that to sockets that say TCP themselves; without it a small answer waits 40 ms.
        connected = transport.get_extra_info("socket")
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Else the system takes megabytes that nobody reads, and they would look as if they had gone out.
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
        if len(self.connections) > _MOST_CONNECTIONS:
            transport.abort()
            return
        self.app = self._answer
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
        """Close when nothing has come for a while."""
        super().timeout_keep_alive_handler()
        self._abort_unread()

    def on_response_complete(self) -> None:
        """Go on with the next request, unless that was the last."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._abort_unread()

    def send_400_response(self, msg: str) -> None:
        """Tell that something is no HTTP as every error is told, and close."""
        if self.conn.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            self._close()
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
        self._close()

    def _await_headers(self) -> None:
        if self._waiting is None:
            self._waiting = self.loop.call_later(_HEADERS_S, self._close)

    def _stop_waiting(self) -> None:
        if self._waiting:
            self._waiting.cancel()
            self._waiting = None

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        pace = Pace(send, self.flow, self.transport.abort)
        await self.config.loaded_app(scope, receive, pace.send)

    def _close(self) -> None:
        self.transport.close()
        self._abort_unread()

    def _abort_unread(self) -> None:
        """Give a caller a last while to read the end of what was written: closing alone would wait for ever."""
        if self.transport.get_write_buffer_size():
            self.loop.call_later(PATIENCE_S, self.transport.abort)
