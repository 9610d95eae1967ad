"""A call that came over HTTP, on its way through the dispatcher."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from strata_server.deadline import Deadline
from strata_server.rpc.calls import Reply

Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]


class Exchange:
    """A request whose answer an event loop waits for."""

    def __init__(self) -> None:
        """Begin on the running loop."""
        self.deadline = Deadline()
        self._loop = asyncio.get_running_loop()
        self._reply: asyncio.Future[Reply] = self._loop.create_future()

    def reply(self, reply: Reply) -> None:
        """Take the answer, from any thread."""
        self._loop.call_soon_threadsafe(self._settle, reply)

    def _settle(self, reply: Reply) -> None:
        if not self._reply.done():
            self._reply.set_result(reply)

    async def wait(self, receive: Receive) -> Reply:
        """Return the answer; a caller who hangs up meanwhile is noted, so that nothing is run for nobody.

        Args:
            receive: of ASGI; the whole body has come.
        """
        leaving = asyncio.ensure_future(_wait_for_hang_up(receive))
        try:
            awaited: set[asyncio.Future[Any]] = {self._reply, leaving}
            await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
            if not self._reply.done():
                self.deadline.hang_up()
            return await self._reply
        finally:
            leaving.cancel()


async def _wait_for_hang_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
