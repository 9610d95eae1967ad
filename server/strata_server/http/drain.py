"""The end of the HTTP port, which leaves nobody without an answer."""

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager

from strata_server.errors import Draining
from strata_server.http.exchange import Exchange
from strata_server.rpc.calls import refuse


class Drain:
    """Whether the server stops, and who must hear of it."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._readings: set[asyncio.Timeout] = set()
        self._exchanges: set[Exchange] = set()
        self.has_begun = False
        """Whether no new request is taken; connections end with their answers then."""

    def begin(self) -> None:
        """Refuse requests whose bodies have not come yet, from any thread."""
        self.has_begun = True
        if self._loop:
            self._loop.call_soon_threadsafe(self._end_readings)

    def cut_off(self) -> None:
        """Refuse requests whose answers are not there yet, from any thread."""
        if self._loop:
            self._loop.call_soon_threadsafe(self._end_exchanges)

    @contextmanager
    def hold(self, exchange: Exchange) -> Iterator[None]:
        """Answer an exchange that is cut off while the block lasts."""
        self._exchanges.add(exchange)
        try:
            yield
        finally:
            self._exchanges.discard(exchange)

    async def read(self, body: Awaitable[bytes]) -> bytes:
        """Return a body, unless the drain begins before it has come.

        Raises:
            Draining: it has begun.
        """
        self._loop = asyncio.get_running_loop()
        reading = asyncio.timeout(0 if self.has_begun else None)
        self._readings.add(reading)
        try:
            async with reading:
                return await body
        except TimeoutError as error:
            raise Draining("the server is stopping and takes no new calls") from error
        finally:
            self._readings.discard(reading)

    def _end_readings(self) -> None:
        for reading in self._readings:
            if reading.when() is None:
                reading.reschedule(0)

    def _end_exchanges(self) -> None:
        for exchange in self._exchanges:
            exchange.reply(refuse(Draining("the server stopped before the answer was there")))
