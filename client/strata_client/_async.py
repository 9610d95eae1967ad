"""The client for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from time import monotonic
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from strata_client import _async_streams, _chunks, _conversations, _streams, comparison
from strata_client._calls import AsyncTransport, Call, Conversation, Round, Step, check_timeout, tell
from strata_client._channels import AsyncChannels, Route, Token
from strata_client._rows import QUICK_BYTES, is_quick
from strata_client._shared import MAX_MESSAGE_BYTES, Inputs
from strata_client._streams import WINDOW, Form
from strata_client.activations import Activations
from strata_client.catalog import Description, Layer, Model
from strata_client.differences import Differences
from strata_client.errors import Cancelled, StrataError
from strata_client.health import Health
from strata_client.predictions import Predictions
from strata_client.reductions import Reduce
from strata_client.repository import RepositoryVersion
from strata_client.retries import Retries, choose_wait
from strata_client.security import TLS

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class _End:
    """What a conversation has in the place of a step when it is over."""

    value: Any


class AsyncClient:
    """Asks as `Client` does, with the same arguments, for tasks of an event loop.

    It may be made anywhere, and belongs to the event loop that makes its first call. A task that is cancelled cancels
    its call. Files are read, images compressed, and large arrays copied beside the loop, in threads of its own.
    """

    def __init__(
        self,
        address: str | Sequence[str] = "localhost:8001",
        *,
        timeout_s: float = 30.0,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        connections: int = 4,
        tls: TLS | None = None,
        token: Token | None = None,
        plain_token: bool = False,
        retries: Retries = Retries(),  # noqa: B008 - frozen
    ) -> None:
        route = Route(
            address,
            max_message_bytes=max_message_bytes,
            connections=connections,
            tls=tls,
            token=token,
            plain_token=plain_token,
        )
        self._transport: AsyncTransport = AsyncChannels(route)
        self._timeout_s = check_timeout(timeout_s)
        self._limits = _chunks.Limits(max_message_bytes)
        self._retries = retries
        self._closed = asyncio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; a call that still waits ends with Cancelled."""
        self._closed.set()
        await self._transport.close()

    async def health(self, *, timeout_s: float | None = None) -> Health:
        """Ask as `Client.health` does."""
        return await self._hold(_conversations.health(self._transport.addresses), timeout_s)

    async def models(self, *, timeout_s: float | None = None) -> list[Model]:
        """Ask as `Client.models` does."""
        return await self._hold(_conversations.models(), timeout_s)

    async def describe(self, model: str = "", *, timeout_s: float | None = None) -> Description:
        """Ask as `Client.describe` does."""
        return await self._hold(_conversations.describe(model), timeout_s)

    async def layers(self, model: str = "", *, timeout_s: float | None = None) -> list[Layer]:
        """Ask as `Client.layers` does."""
        return list((await self.describe(model, timeout_s=timeout_s)).layers)

    async def predict(
        self, inputs: Inputs, *, model: str = "", top: int = 5, timeout_s: float | None = None
    ) -> Predictions:
        """Ask as `Client.predict` does."""
        conversation = _conversations.predict(inputs, model, top, self._limits)
        return await self._hold(conversation, timeout_s, is_quick=is_quick(inputs))

    async def activations(
        self,
        inputs: Inputs,
        layers: Sequence[str],
        *,
        model: str = "",
        reduce: Reduce = "none",
        timeout_s: float | None = None,
    ) -> Activations:
        """Ask as `Client.activations` does."""
        conversation = _conversations.activations(inputs, layers, model, reduce, self._limits)
        return await self._hold(conversation, timeout_s, is_quick=is_quick(inputs))

    @overload
    def stream(
        self,
        inputs: Iterable[Inputs] | AsyncIterable[Inputs],
        *,
        model: str = "",
        top: int = 5,
        window: int = WINDOW,
        timeout_s: float | None = None,
    ) -> AsyncIterator[Predictions | StrataError]: ...
    @overload
    def stream(
        self,
        inputs: Iterable[Inputs] | AsyncIterable[Inputs],
        layers: Sequence[str],
        *,
        model: str = "",
        reduce: Reduce = "none",
        top: int = 5,
        window: int = WINDOW,
        timeout_s: float | None = None,
    ) -> AsyncIterator[Activations | StrataError]: ...
    def stream(
        self,
        inputs: Iterable[Inputs] | AsyncIterable[Inputs],
        layers: Sequence[str] = (),
        *,
        model: str = "",
        reduce: Reduce = "none",
        top: int = 5,
        window: int = WINDOW,
        timeout_s: float | None = None,
    ) -> AsyncIterator[Predictions | StrataError] | AsyncIterator[Activations | StrataError]:
        """Ask as `Client.stream` does; inputs may be given asynchronously, and answers come while one is waited for."""
        timeout_s = self._timeout_s if timeout_s is None else check_timeout(timeout_s)
        max_bytes = self._limits.request_bytes
        if layers:
            activations = _streams.form_activations(model, layers, reduce, max_bytes)
            return self._stream(activations, inputs, window, timeout_s)
        return self._stream(_streams.form_predictions(model, top, max_bytes), inputs, window, timeout_s)

    def _stream(
        self,
        form: Form[_Answer],
        inputs: Iterable[Inputs] | AsyncIterable[Inputs],
        window: int,
        timeout_s: float,
    ) -> AsyncIterator[_Answer | StrataError]:
        course = _streams.begin(form, self._retries, window, timeout_s)
        return _async_streams.stream(self._transport, course, _async_streams.enter(inputs), timeout_s)

    async def diff(
        self,
        a: str,
        b: str,
        inputs: Inputs,
        *,
        layers: Sequence[str] = (),
        tolerance: float = comparison.TOLERANCE,
        timeout_s: float | None = None,
    ) -> Differences:
        """Ask as `Client.diff` does."""
        conversation = comparison.compare(a, b, inputs, layers=layers, tolerance=tolerance, limits=self._limits)
        return await self._hold(conversation, timeout_s, is_quick=False)

    async def versions(self, *, timeout_s: float | None = None) -> list[RepositoryVersion]:
        """Ask as `Client.versions` does."""
        return await self._hold(_conversations.versions(), timeout_s)

    async def load(self, model: str, *, timeout_s: float | None = None) -> None:
        """Ask as `Client.load` does."""
        await self._hold(_conversations.load(model), timeout_s)

    async def unload(self, model: str, *, timeout_s: float | None = None) -> None:
        """Ask as `Client.unload` does."""
        await self._hold(_conversations.unload(model), timeout_s)

    async def _hold(
        self, conversation: Conversation[_Answer], timeout_s: float | None, *, is_quick: bool = True
    ) -> _Answer:
        """Hold a conversation to its end, beside the loop where it is not quick."""
        timeout_s = self._timeout_s if timeout_s is None else check_timeout(timeout_s)
        step = await _go_on(partial(next, conversation), is_quick=is_quick)
        while not isinstance(step, _End):
            turn: Callable[[], Step]
            try:
                make = self._make(step, timeout_s) if isinstance(step, Call) else self._make_all(step, timeout_s)
                turn = partial(conversation.send, await make)
            except StrataError as error:
                turn = partial(conversation.throw, error)
            # Several answers are made one, and are large.
            step = await _go_on(turn, is_quick=is_quick and isinstance(step, Call))
        value: _Answer = step.value
        return value

    async def _make(self, call: Call[Any], timeout_s: float) -> Any:
        """Make a call, again if need be, and return its answer or an error that it tolerates."""
        try:
            body = await self._perform(call, timeout_s)
            return call.read(body) if len(body) <= QUICK_BYTES else await asyncio.to_thread(call.read, body)
        except StrataError as error:
            return tell(call, error)

    async def _perform(self, call: Call[Any], timeout_s: float) -> bytes:
        ends, left_s, attempt = monotonic() + timeout_s, timeout_s, 1
        while True:
            try:
                return await self._transport.perform(call, left_s)
            except StrataError as error:
                wait_s = choose_wait(self._retries, attempt, error, ends - monotonic()) if call.is_safe else None
                if wait_s is None:
                    raise
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._closed.wait()
                raise Cancelled("the client is closed")
            left_s, attempt = ends - monotonic(), attempt + 1

    async def _make_all(self, step: Iterable[Call[Any]], timeout_s: float) -> list[Any]:
        """Make the calls of a step, as many at a time as the transport is worth."""
        calls = Round(step)
        lock = asyncio.Lock()

        async def work() -> None:
            while True:
                async with lock:
                    # Files are read and arrays copied for it, which would hold up the loop.
                    taken = await asyncio.to_thread(calls.take)
                if taken is None:
                    return
                number, call = taken
                try:
                    calls.keep(number, await self._make(call, timeout_s))
                except Exception as error:  # noqa: BLE001 - whoever waits for all of them gets it
                    calls.fail(number, error)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._transport.width):
                tasks.create_task(work())
        return calls.end()


async def _go_on(turn: Callable[[], Step], *, is_quick: bool) -> Step | _End:
    """Return the next step of a conversation."""

    def take() -> Step | _End:
        try:
            return turn()
        except StopIteration as end:  # which no future can hold
            return _End(end.value)

    return take() if is_quick else await asyncio.to_thread(take)
