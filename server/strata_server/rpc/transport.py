"""How bytes travel: what a server needs of it."""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

from strata_server.rpc.methods import Method, Watch

Served: TypeAlias = Method | Watch

_STREAMS_PER_CONNECTION = 256
_METADATA_BYTES = 16 * 1024
_READ_BYTES = 2**16
_MINUTE_MS = 60_000


class Transport(Protocol):
    """Receives calls on one port."""

    port: int

    def start(self, served: Sequence[Served]) -> None:
        """Receive calls, and answer them."""

    def refuse(self) -> None:
        """End streams that wait for a message: the server stops."""

    def close(self) -> None:
        """End what is open, and give the port back."""


def grpc_options(max_message_bytes: int, *, shares_port: bool) -> list[tuple[str, int]]:
    """Return gRPC's settings, the same for every transport."""
    return [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", -1),  # the dispatcher bounds it, with a better message
        ("grpc.max_concurrent_streams", _STREAMS_PER_CONNECTION),
        ("grpc.max_metadata_size", _METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", _METADATA_BYTES),
        ("grpc.max_connection_idle_ms", 10 * _MINUTE_MS),
        ("grpc.max_connection_age_ms", 60 * _MINUTE_MS),
        ("grpc.max_connection_age_grace_ms", 5 * _MINUTE_MS),
        # A megabyte that comes in pieces of 8 KiB, the default, takes twice as long to put together.
        ("grpc.experimental.tcp_read_chunk_size", _READ_BYTES),
        ("grpc.experimental.tcp_max_read_chunk_size", 16 * _READ_BYTES),
        ("grpc.so_reuseport", int(shares_port)),  # a second server on a taken port must fail, not share it
    ]
