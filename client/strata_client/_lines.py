"""Calls of gRPC on which many requests go out and many answers come in."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc

from strata_client._calls import Take
from strata_client._connections import Connection
from strata_client._status import translate
from strata_client.errors import Cancelled, ServerError, StrataError, Unavailable

Metadata: TypeAlias = "tuple[tuple[str, str], ...] | None"
"""What is said with a call beside its messages."""


@dataclass(frozen=True)
class Ends:
    """Where a line leads to at this side."""

    take: Take
    give_back: Callable[[StrataError], None]
    """Takes its connection back, with what has ended the line."""
    timeout_s: float

    def hang_up(self, error: StrataError) -> None:
        """Tell that the line has ended."""
        self.give_back(error)
        self.take(error)


# What grpc.aio says in the place of a call's own status where the call ends while a message goes out.
_WHILE_SENDING = "Internal error from Core"


def _leave(address: str) -> Unavailable:
    return Unavailable(f"{address}: the server has ended the stream")


class ThreadLine:
    """A line for threads: gRPC sends on a thread of its own, and one of this line takes what comes."""

    def __init__(self, connection: Connection[grpc.Channel], path: str, metadata: Metadata, ends: Ends) -> None:
        self._address = connection.address.name
        self._ends = ends
        self._reason: StrataError | None = None
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        try:
            method: Any = connection.channel.stream_stream(path)
            self._call = method(iter(self._outbox.get, None), metadata=metadata)
        except ValueError as failure:
            error = translate(failure, self._address, ends.timeout_s)
            ends.give_back(error)
            raise error from failure
        self._reader = threading.Thread(target=self._read, name="strata-stream", daemon=True)
        self._reader.start()

    def send(self, body: bytes) -> None:
        """Send a message, without waiting."""
        self._outbox.put(body)

    def close(self, reason: StrataError | None = None) -> None:
        """End it, and its thread."""
        self._reason = reason
        self._call.cancel()
        self._reader.join()

    def _read(self) -> None:
        error: StrataError
        try:
            for body in self._call:
                self._ends.take(body)
            error = _leave(self._address)
        except grpc.RpcError as failure:
            error = translate(failure, self._address, self._ends.timeout_s)
        self._outbox.put(None)  # gRPC's thread waits for what is next to be sent
        self._ends.hang_up(self._reason or error)


class TaskLine:
    """A line for an event loop: tasks in the place of the threads."""

    def __init__(self, connection: Connection[grpc.aio.Channel], path: str, metadata: Metadata, ends: Ends) -> None:
        self._address = connection.address.name
        self._ends = ends
        self._reason: StrataError | None = None
        self._outbox: asyncio.Queue[bytes | None] = asyncio.Queue()
        method: Any = connection.channel.stream_stream(path)
        self._call = method(self._requests(), metadata=metadata)
        self._reader = asyncio.create_task(self._read())

    def send(self, body: bytes) -> None:
        """Send a message, without waiting."""
        self._outbox.put_nowait(body)

    async def close(self, reason: StrataError | None = None) -> None:
        """End it, and its tasks."""
        self._reason = reason
        self._call.cancel()
        await asyncio.wait([self._reader])

    async def _requests(self) -> AsyncIterator[bytes]:
        while (body := await self._outbox.get()) is not None:
            yield body

    async def _read(self) -> None:
        error: StrataError
        try:
            async for body in self._call:
                self._ends.take(body)
            error = _leave(self._address)
        except asyncio.CancelledError:  # of the call: its channel was closed, or the line was
            error = Cancelled("the client is closed")
        except (grpc.RpcError, ValueError, grpc.aio.UsageError) as failure:
            error = translate(failure, self._address, self._ends.timeout_s)
            if isinstance(error, ServerError) and str(error).endswith(_WHILE_SENDING):
                error = Unavailable(f"{self._address}: the call has ended while something was sent")
        self._outbox.put_nowait(None)
        self._ends.hang_up(self._reason or error)
