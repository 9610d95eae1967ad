"""Several connections: one reaches one worker of one server, and there may be many of both."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import Any, Generic, Protocol, TypeVar

from strata_client.errors import Cancelled, DeadlineExceeded, ResourceExhausted, StrataError, Unavailable

# How long an address at which nobody answered is passed over: doubled each time, as long as another one is left.
_FIRST_REST_S = 0.2
_LONGEST_REST_S = 20.0


class _Channel(Protocol):
    """What channels of gRPC have, those that wait and those that do not."""

    def unary_unary(self, method: str, /) -> Any: ...
    def close(self) -> Any: ...


Channel = TypeVar("Channel", bound=_Channel)


class Address(Generic[Channel]):
    """A server, or several behind one name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.connections: list[Connection[Channel]] = []
        self.turn = 0
        """When it was last asked, among all addresses."""
        self.failures = 0
        """How often nobody answered, since somebody did."""
        self.rests_until = 0.0


class Connection(Generic[Channel]):
    """A channel and its methods."""

    def __init__(self, address: Address[Channel], channel: Channel) -> None:
        self.address = address
        self.channel = channel
        self.calls = 0
        """How many are under way."""
        self.failed = 0
        """1 where its last call ended so that another connection may do better, which counts like a call."""
        self._methods: dict[str, Any] = {}

    def method(self, path: str) -> Any:
        """Return a method that takes and answers a message's bytes."""
        found = self._methods.get(path)
        if found is None:
            found = self._methods[path] = self.channel.unary_unary(path)
        return found


class Connections(Generic[Channel]):
    """As many connections to each address as calls are made at the same time, up to a number."""

    def __init__(self, addresses: Sequence[str], open_channel: Callable[[str], Channel], most: int) -> None:
        self._open_channel = open_channel
        self._most = most
        self._lock = threading.Lock()
        self._turns = count(1)
        self._is_closed = False
        self._was_reached = False
        """Whether any server has ever answered."""
        self._addresses: dict[str, Address[Channel]] = {name: Address(name) for name in addresses}
        for address in self._addresses.values():
            self._open(address)

    def take(self, name: str = "") -> Connection[Channel]:
        """Lend the connection with the fewest calls under way; a new one where all are busy and there may be more.

        Args:
            name: the address it must be of; empty for any.

        Raises:
            Cancelled: all are closed.
        """
        with self._lock:
            if self._is_closed:
                raise Cancelled("the client is closed")
            connection = self._choose([self._addresses[name]] if name else self._awake())
            connection.calls += 1
            connection.address.turn = next(self._turns)
        return connection

    def give_back(self, connection: Connection[Channel], error: StrataError | None, timeout_s: float = 0.0) -> None:
        """Take a connection back, and note how its call ended; where it was too late, after how long."""
        with self._lock:
            connection.calls -= 1
            self._note_reached(error)
            address = connection.address
            if error is None:
                connection.failed = address.failures = 0
                address.rests_until = 0.0
                return
            connection.failed = int(isinstance(error, Unavailable | ResourceExhausted | DeadlineExceeded))
            now = time.monotonic()
            # Calls that were under way together fail together, and count once.
            if isinstance(error, Unavailable | DeadlineExceeded) and now >= address.rests_until:
                rest_s = min(_LONGEST_REST_S, _FIRST_REST_S * 2 ** min(address.failures, 20))
                # Who hangs costs each caller a whole timeout, who is away almost nothing.
                address.rests_until = now + (max(rest_s, timeout_s) if isinstance(error, DeadlineExceeded) else rest_s)
                address.failures += 1

    def _note_reached(self, error: StrataError | None) -> None:
        if isinstance(error, Unavailable) and error.is_unreached:
            # Where there was a server before, it may be starting again.
            error.is_unreached = not self._was_reached
        elif not isinstance(error, DeadlineExceeded | Cancelled):
            self._was_reached = True

    def close(self) -> list[Channel]:
        """Lend none any more, and return the channels, which are to be closed."""
        with self._lock:
            self._is_closed = True
            return [connection.channel for each in self._addresses.values() for connection in each.connections]

    def _awake(self) -> Iterable[Address[Channel]]:
        addresses = self._addresses.values()
        if len(addresses) == 1:
            return addresses
        now = time.monotonic()
        return [address for address in addresses if address.rests_until <= now] or addresses

    def _choose(self, addresses: Iterable[Address[Channel]]) -> Connection[Channel]:
        best = min(
            (connection for address in addresses for connection in address.connections),
            key=lambda each: (each.calls + each.failed, each.address.turn),
        )
        if best.calls + best.failed:
            room = [address for address in addresses if len(address.connections) < self._most]
            if room:
                return self._open(min(room, key=lambda each: (len(each.connections), each.turn)))
        return best

    def _open(self, address: Address[Channel]) -> Connection[Channel]:
        connection = Connection(address, self._open_channel(address.name))
        address.connections.append(connection)
        return connection
