"""The transport: grpcio's public threaded server."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from operator import attrgetter

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2
from strata.v1 import catalog_pb2, inference_pb2

from strata_server.errors import StartError
from strata_server.rpc import open_inference_pb2
from strata_server.rpc.calls import Calls, answer
from strata_server.rpc.methods import Method
from strata_server.rpc.reflection import pool_files

_CALLS_AT_ONCE = 32  # each holds a thread; a session's own threads do the arithmetic
_STREAMS_PER_CONNECTION = 1024
_METADATA_BYTES = 16 * 1024
_FILES = (catalog_pb2, inference_pb2, open_inference_pb2, health_pb2, reflection_pb2)


class GrpcServer:
    """Serves methods, grpc.health.v1 and reflection on one port."""

    def __init__(self, address: str, *, max_message_bytes: int) -> None:
        """Take the port, without answering on it yet.

        Args:
            address: HOST:PORT; port 0 takes a free one.
            max_message_bytes: the largest request, after decompression.

        Raises:
            StartError: the port cannot be had.
        """
        self._calls = Calls()
        self._health = health.HealthServicer()
        self._health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        self._server = grpc.server(
            ThreadPoolExecutor(_CALLS_AT_ONCE, thread_name_prefix="call"), options=_options(max_message_bytes)
        )
        try:
            self.port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise StartError(f"cannot listen for gRPC on {address}; is the port taken?") from error

    def start(self, methods: Sequence[Method]) -> None:
        """Answer calls of these methods."""
        by_service = {
            service: list(group) for service, group in groupby(sorted(methods, key=_SERVICE), key=_SERVICE)
        }
        for service, group in by_service.items():
            handlers = {method.name: self._handler(method) for method in group}
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = [*by_service, health.SERVICE_NAME, reflection.SERVICE_NAME]
        reflection.enable_server_reflection(
            names, self._server, pool_files(file.DESCRIPTOR for file in _FILES)
        )
        self._server.start()
        for service in ("", *by_service):
            self._health.set(service, health_pb2.HealthCheckResponse.SERVING)

    def stop(self, drain_s: float) -> bool:
        """Say NOT_SERVING, let the running calls finish, close; return whether all finished in time."""
        self._health.enter_graceful_shutdown()
        finished = self._calls.drain(drain_s)
        # Only answers on their way and health watches are left: these never end by themselves.
        self._server.stop(grace=1.0 if finished else 0.0).wait()
        return finished

    def _handler(self, method: Method) -> "grpc.RpcMethodHandler[bytes, bytes]":
        def handle(data: bytes, context: grpc.ServicerContext) -> bytes:
            reply = answer(self._calls, method, data, context.time_remaining())
            if reply.status != "OK":
                context.set_trailing_metadata(reply.trailers)
                context.abort(grpc.StatusCode[reply.status], reply.details)
            return reply.body

        return grpc.unary_unary_rpc_method_handler(handle)  # bytes in, bytes out: `answer` parses


_SERVICE: Callable[[Method], str] = attrgetter("service")


def _options(max_message_bytes: int) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", -1),  # the price of a request bounds its answer
        ("grpc.max_concurrent_streams", _STREAMS_PER_CONNECTION),
        ("grpc.max_metadata_size", _METADATA_BYTES),
        ("grpc.so_reuseport", 0),  # a second server on a taken port must fail, not share it
    ]
