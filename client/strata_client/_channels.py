"""The way to servers over gRPC: channels, encryption, and who asks."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import grpc

from strata_client import _addresses
from strata_client._calls import AsyncLine, Call, Line, Take
from strata_client._connections import Connections
from strata_client._lines import Ends, Metadata, TaskLine, ThreadLine
from strata_client._status import translate
from strata_client.errors import Cancelled, InvalidArgument, StrataError
from strata_client.security import TLS, read_identity

Token: TypeAlias = "str | Callable[[], str]"  # noqa: S105 - a type
"""What a server knows its caller by; called anew for each call where it can be called."""

_MOST_BYTES = 2**31 - 1  # gRPC counts in an int
_SENDABLE = re.compile(r"[!-~]+")


class Route:
    """How servers are reached."""

    def __init__(
        self,
        addresses: str | Sequence[str],
        *,
        max_message_bytes: int,
        connections: int,
        tls: TLS | None,
        token: Token | None,
        plain_token: bool,
    ) -> None:
        if connections < 1:
            raise InvalidArgument(f"connections: expected 1 or more; received {connections}")
        if not 0 < max_message_bytes <= _MOST_BYTES:
            raise InvalidArgument(
                f"max_message_bytes: expected a number from 1 to {_MOST_BYTES:,}; received {max_message_bytes}"
            )
        self.addresses = _addresses.parse(addresses)
        self.connections = connections
        self._token = token if callable(token) else None
        self._metadata = None if token is None or callable(token) else _write_token(token)
        self._options = _list_options(max_message_bytes, tls)
        self._credentials: grpc.ChannelCredentials | None = None
        if tls is not None:
            identity = read_identity(tls)
            self._credentials = grpc.ssl_channel_credentials(identity.authority, identity.key, identity.certificate)
        if token is not None and tls is None and not plain_token:
            self._refuse_listeners()

    @property
    def width(self) -> int:
        """How many calls it is worth to make at the same time."""
        return self.connections * len(self.addresses)

    def open(self, address: str) -> grpc.Channel:
        """Open a channel for threads; it connects with its first call."""
        if self._credentials is None:
            return grpc.insecure_channel(address, options=self._choose_options(address))
        return grpc.secure_channel(address, self._credentials, options=self._choose_options(address))

    def open_async(self, address: str) -> grpc.aio.Channel:
        """Open a channel for the event loop that runs."""
        if self._credentials is None:
            return grpc.aio.insecure_channel(address, options=self._choose_options(address))
        return grpc.aio.secure_channel(address, self._credentials, options=self._choose_options(address))

    def introduce(self) -> Metadata:
        """Return what tells a server who asks; None where nobody says."""
        return _write_token(self._token()) if self._token else self._metadata

    def _choose_options(self, address: str) -> list[tuple[str, Any]]:
        if not address.startswith("dns:"):
            return self._options
        # Behind such a name there may be several servers, of which gRPC asks the first alone unless told.
        return [*self._options, ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}')]

    def _refuse_listeners(self) -> None:
        for address in self.addresses:
            if not _addresses.is_local(address):
                raise InvalidArgument(
                    f"token: expected tls on the way to {address}, where others may listen; received none "
                    "(plain_token=True sends it all the same)"
                )


def _write_token(token: str) -> Metadata:
    # gRPC's own complaint would show it.
    if not _SENDABLE.fullmatch(token):
        raise InvalidArgument("token: expected printable ASCII without spaces; received something else")
    return (("authorization", f"Bearer {token}"),)


def _list_options(max_message_bytes: int, tls: TLS | None) -> list[tuple[str, Any]]:
    options: list[tuple[str, Any]] = [
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.max_receive_message_length", -1),
        ("grpc.use_local_subchannel_pool", 1),  # channels to one address would share a connection otherwise
        ("grpc.enable_retries", 0),  # ours may go elsewhere
        # A peer that is gone without a word is noticed while a call waits for it.
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 5_000),
    ]
    if tls is not None and tls.server_name is not None:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    return options


class Channels:
    """The transport for threads."""

    def __init__(self, route: Route) -> None:
        self.addresses = route.addresses
        self.width = route.width
        self._introduce = route.introduce
        self._connections = Connections(route.addresses, route.open, route.connections)

    def perform(self, call: Call[Any], timeout_s: float) -> bytes:
        """Send a call once and return the answer's message."""
        metadata = self._introduce()
        connection = self._connections.take(call.address)
        error: StrataError | None = None
        try:
            answer: bytes = connection.method(call.path)(call.body, timeout=timeout_s, metadata=metadata)
        except (grpc.RpcError, ValueError) as failure:
            error = translate(failure, connection.address.name, timeout_s)
            raise error from failure
        finally:
            self._connections.give_back(connection, error, timeout_s)
        return answer

    def begin(self, path: str, take: Take, timeout_s: float) -> Line:
        """Begin a call of a method that streams."""
        metadata = self._introduce()
        connection = self._connections.take()
        end = partial(self._connections.give_back, connection, timeout_s=timeout_s)
        return ThreadLine(connection, path, metadata, Ends(take, end, timeout_s))

    def close(self) -> None:
        """End all calls with Cancelled, those that come later as well."""
        for channel in self._connections.close():
            channel.close()


class AsyncChannels:
    """The transport for an event loop: the one that makes the first call."""

    def __init__(self, route: Route) -> None:
        self.addresses = route.addresses
        self.width = route.width
        self._route = route
        self._is_closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connections: Connections[grpc.aio.Channel] | None = None

    async def perform(self, call: Call[Any], timeout_s: float) -> bytes:
        """Send a call once and return the answer's message; a task that is cancelled cancels it."""
        connections = self._enter()
        metadata = self._route.introduce()
        connection = connections.take(call.address)
        error: StrataError | None = None
        try:
            answer: bytes = await connection.method(call.path)(call.body, timeout=timeout_s, metadata=metadata)
        except asyncio.CancelledError as failure:
            task = asyncio.current_task()
            if not self._is_closed or (task and task.cancelling()):
                raise
            raise Cancelled("the client is closed") from failure
        except (grpc.RpcError, ValueError, grpc.aio.UsageError) as failure:
            error = translate(failure, connection.address.name, timeout_s)
            raise error from failure
        finally:
            connections.give_back(connection, error, timeout_s)
        return answer

    def begin(self, path: str, take: Take, timeout_s: float) -> AsyncLine:
        """Begin a call of a method that streams."""
        connections = self._enter()
        metadata = self._route.introduce()
        connection = connections.take()
        end = partial(connections.give_back, connection, timeout_s=timeout_s)
        return TaskLine(connection, path, metadata, Ends(take, end, timeout_s))

    async def close(self) -> None:
        """End all calls with Cancelled, those that come later as well."""
        self._is_closed = True
        if self._connections is None:
            return
        channels = self._connections.close()
        if self._loop is asyncio.get_running_loop():  # a loop that has ended took its connections along
            for channel in channels:
                await channel.close()

    def _enter(self) -> Connections[grpc.aio.Channel]:
        if self._is_closed:
            raise Cancelled("the client is closed")
        loop = asyncio.get_running_loop()
        if self._connections is None:
            self._loop = loop
            self._connections = Connections(self._route.addresses, self._route.open_async, self._route.connections)
        elif self._loop is not loop:
            raise Cancelled("the client belongs to another event loop, which made its first call")
        return self._connections
