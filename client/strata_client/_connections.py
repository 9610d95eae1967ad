"""Several connections to one address: a connection reaches one worker of the server, and there may be many."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from strata.v1.catalog_pb2_grpc import CatalogServiceStub
from strata.v1.inference_pb2_grpc import InferenceServiceStub


class Connection:
    """A channel and its stubs."""

    def __init__(self, address: str, max_message_bytes: int) -> None:
        self.channel = grpc.insecure_channel(
            address,
            options=[
                ("grpc.max_send_message_length", max_message_bytes),
                ("grpc.max_receive_message_length", -1),
                ("grpc.use_local_subchannel_pool", 1),  # channels to one address would share a connection otherwise
            ],
        )
        self.catalog = CatalogServiceStub(self.channel)
        self.inference = InferenceServiceStub(self.channel)
        self.health: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self.channel.unary_unary(
            "/grpc.health.v1.Health/Check"
        )
        self.calls = 0
        """How many are under way."""


class Connections:
    """As many connections as calls are made at the same time, up to a number."""

    def __init__(self, address: str, max_message_bytes: int, most: int) -> None:
        self._address = address
        self._max_message_bytes = max_message_bytes
        self._most = most
        self._lock = threading.Lock()
        self._open = [Connection(address, max_message_bytes)]

    @contextmanager
    def borrow(self) -> Iterator[Connection]:
        """Lend the connection with the fewest calls under way; a new one where all are busy and there may be more."""
        with self._lock:
            connection = min(self._open, key=lambda each: each.calls)
            if connection.calls and len(self._open) < self._most:
                connection = Connection(self._address, self._max_message_bytes)
                self._open.append(connection)
            connection.calls += 1
        try:
            yield connection
        finally:
            with self._lock:
                connection.calls -= 1

    def close(self) -> None:
        """Close all; calls under way end with Cancelled, and so do those that come later."""
        with self._lock:
            self._most = 0
            for connection in self._open:
                connection.channel.close()
