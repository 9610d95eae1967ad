"""How fast an answer must be read."""

import asyncio
from collections.abc import Callable, MutableMapping
from typing import Any

from starlette.types import Send
from uvicorn.protocols.http.flow_control import FlowControl

from strata_server.http.bodies import PATIENCE_S, SLOWEST_BYTES_S

_PIECE_BYTES = 2**18


class Pace:
    """Sends an answer in pieces, each when the one before has gone, and gives up on a caller who is too slow."""

    def __init__(self, send: Send, flow: FlowControl, give_up: Callable[[], None]) -> None:
        """Start the clock.

        Args:
            send: of ASGI; it waits while too much is unread.
            flow: tells whether that is so.
            give_up: ends the connection, whatever is unread.
        """
        self._send = send
        self._flow = flow
        self._give_up = give_up
        self._began = asyncio.get_running_loop().time()
        self._bytes = 0

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Send; what is large has gone out, but for some kilobytes, when this returns."""
        body = message.get("body", b"")
        if len(body) <= _PIECE_BYTES:
            await self._send_in_time(message)
            return
        view = memoryview(body)
        for place in range(0, len(body), _PIECE_BYTES):
            piece = view[place : place + _PIECE_BYTES]
            await self._send_in_time({**message, "body": piece, "more_body": True})
        await self._send_in_time({**message, "body": b""})

    async def _send_in_time(self, message: MutableMapping[str, Any]) -> None:
        if not self._flow.write_paused:
            await self._send(message)
        else:
            try:
                async with asyncio.timeout_at(self._began + PATIENCE_S + self._bytes / SLOWEST_BYTES_S):
                    await self._send(message)
            except TimeoutError:
                self._give_up()
        self._bytes += len(message.get("body", b""))
