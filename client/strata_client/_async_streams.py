"""Many small requests on one call, for event loops."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from contextlib import suppress
from time import monotonic
from typing import TypeVar

from strata_client._calls import AsyncLine, AsyncTransport
from strata_client._course import Course
from strata_client._rows import is_quick
from strata_client._shared import Inputs
from strata_client._streams import PATH, Mark, Wire, take_next
from strata_client.errors import StrataError

Answer = TypeVar("Answer")


def enter(inputs: Iterable[Inputs] | AsyncIterable[Inputs]) -> Intake:
    """Return what takes the inputs.

    Raises:
        TypeError: there are none to take, one after the other.
    """
    return AsyncIntake(inputs) if isinstance(inputs, AsyncIterable) else Intake(inputs)


async def stream(
    transport: AsyncTransport, course: Course[Inputs, Answer], intake: Intake, timeout_s: float
) -> AsyncIterator[Answer | StrataError]:
    """Give the outcomes of a course, while inputs are taken."""
    changed = intake.changed
    wire = _TaskWire(transport, course, timeout_s, changed)
    try:
        while not course.is_done:
            changed.clear()
            await intake.offer(course)
            wire.receive()  # what came while the caller was elsewhere is not late
            await wire.send()
            wire.receive()
            if course.is_ready:
                yield course.give()
            elif not intake.has_more(course):
                with suppress(TimeoutError):
                    async with asyncio.timeout(course.wait_s(monotonic()) if course.is_waiting else None):
                        await changed.wait()
        course.finish()
    finally:
        await intake.close()
        await wire.close()


async def _offer(course: Course[Inputs, Answer], item: Inputs) -> None:
    if is_quick(item):
        course.offer(item, monotonic())
    else:
        await asyncio.to_thread(course.offer, item, monotonic())


class Intake:
    """Takes inputs that are given one after the other."""

    def __init__(self, inputs: Iterable[Inputs]) -> None:
        self.changed = asyncio.Event()
        """Set where something has come, of whatever is waited for."""
        self._inputs = iter(inputs)

    async def offer(self, course: Course[Inputs, Answer]) -> None:
        """Offer the next one, if it is wanted."""
        if not course.wants_more:
            return
        for item in take_next(course, self._inputs):
            await _offer(course, item)
        await asyncio.sleep(0)  # what was offered before goes out meanwhile

    def has_more(self, course: Course[Inputs, Answer]) -> bool:
        """Say whether another one can be offered now, or the end of all."""
        return course.wants_more or course.is_done

    async def close(self) -> None:
        """Do nothing: nothing is under way."""


class AsyncIntake(Intake):
    """Takes inputs that may have to be waited for."""

    def __init__(self, inputs: AsyncIterable[Inputs]) -> None:
        super().__init__(())
        self._awaited = aiter(inputs)
        self._next: asyncio.Task[Inputs] | None = None

    async def offer(self, course: Course[Inputs, Answer]) -> None:
        """Offer the next one, if it is wanted and there."""
        if self._next is None and course.wants_more:
            self._next = asyncio.create_task(self._take())
            self._next.add_done_callback(lambda _: self.changed.set())
        if self._next is None or not self._next.done():
            return
        taken, self._next = self._next, None
        try:
            item = taken.result()
        except StopAsyncIteration:
            course.end()
        except Exception as error:  # noqa: BLE001 - the caller gets it, after what was asked before
            course.end(error)
        else:
            await _offer(course, item)

    def has_more(self, course: Course[Inputs, Answer]) -> bool:
        """Say whether another one can be waited for, or all have ended."""
        return (self._next is None and course.wants_more) or course.is_done

    async def close(self) -> None:
        """Wait for no more."""
        if self._next is not None:
            self._next.cancel()
            await asyncio.wait([self._next])

    async def _take(self) -> Inputs:
        return await anext(self._awaited)


class _TaskWire(Wire[Answer]):
    """A wire of an event loop."""

    def __init__(
        self,
        transport: AsyncTransport,
        course: Course[Inputs, Answer],
        timeout_s: float,
        changed: asyncio.Event,
    ) -> None:
        super().__init__(course)
        self._transport = transport
        self._timeout_s = timeout_s
        self._changed = changed
        self._line: AsyncLine | None = None
        self._came: deque[Mark] = deque()

    async def send(self) -> None:
        """Send what is to be sent now, on a new line if need be."""
        if reason := self.leave():
            await self.close(reason)
        for request in self._course.take_due(monotonic()):
            if self._line is None or not self.is_open:
                await self.close()
                self._line = self._transport.begin(PATH, self.renew(self._note), self._timeout_s)
            self._line.send(request.SerializeToString())

    def receive(self) -> None:
        """Take what has come."""
        while self._came:
            self.take(self._came.popleft())

    async def close(self, reason: StrataError | None = None) -> None:
        """End the line."""
        if self._line is not None:
            await self._line.close(reason)
            self._line = None

    def _note(self, mark: Mark) -> None:
        self._came.append(mark)
        self._changed.set()
