"""The transport: grpcio's public threaded server."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2
from strata.v1 import catalog_pb2, inference_pb2

from strata_server.addresses import Address
from strata_server.deadline import Deadline
from strata_server.errors import Draining, StartError
from strata_server.rpc import open_inference_pb2
from strata_server.rpc.calls import Calls, Reply, answer, refuse
from strata_server.rpc.methods import Method
from strata_server.rpc.reflection import pool_files

# grpcio holds a thread for each call that has begun, also for one whose message never comes; far fewer run at once.
_CALLS_BEGUN = 512
_STREAMS_PER_CONNECTION = 256
_METADATA_BYTES = 16 * 1024
_MINUTE_MS = 60_000
_FILES = (catalog_pb2, inference_pb2, open_inference_pb2, health_pb2, reflection_pb2)


class GrpcServer:
    """Serves methods, grpc.health.v1 and reflection on one port."""

    def __init__(
        self,
        address: Address,
        *,
        max_message_bytes: int,
        shares_port: bool = False,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        """Take the port, without answering on it yet.

        Args:
            address: where to listen; port 0 takes a free one.
            max_message_bytes: the largest request, after decompression, and the largest answer.
            shares_port: whether other processes listen on the same port.
            beat: called at least once a second, once started, for as long as calls are received.

        Raises:
            StartError: the port cannot be had.
        """
        self._max_message_bytes = max_message_bytes
        self._calls = Calls()
        self._beat = beat
        self._health = health.HealthServicer()
        self._health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        self._server = grpc.server(
            ThreadPoolExecutor(_CALLS_BEGUN, thread_name_prefix="call"),
            options=_options(max_message_bytes, shares_port=shares_port),
        )
        try:
            self.port = self._server.add_insecure_port(str(address))
        except RuntimeError as error:
            raise StartError(f"cannot listen for gRPC on {address}; is the port taken?") from error

    def start(self, services: Mapping[str, Sequence[Method]]) -> None:
        """Answer calls of these services, by their full names."""
        for service, methods in services.items():
            handlers = {method.name: self._handler(method) for method in methods}
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = [*services, health.SERVICE_NAME, reflection.SERVICE_NAME]
        reflection.enable_server_reflection(names, self._server, pool_files(file.DESCRIPTOR for file in _FILES))
        self._server.start()
        for service in ("", *services):
            self._health.set(service, health_pb2.HealthCheckResponse.SERVING)

    def stop(self, drain_s: float) -> bool:
        """Say NOT_SERVING, let the open calls finish, close; return whether all finished in time."""
        self._health.enter_graceful_shutdown()
        finished = self._calls.drain(drain_s)
        # What is left are health watches and reflection, which never end by themselves.
        self._server.stop(grace=None).wait()
        return finished

    def _handler(self, method: Method) -> "grpc.RpcMethodHandler[bytes, bytes]":
        def handle(data: bytes, context: grpc.ServicerContext) -> bytes:
            reply = self._answer(method, data, context)
            if reply.status != "OK":
                context.set_trailing_metadata(reply.trailers)
                context.abort(grpc.StatusCode[reply.status], reply.details)
            return reply.body

        return grpc.unary_unary_rpc_method_handler(handle)  # bytes in, bytes out: `answer` parses

    def _answer(self, method: Method, data: bytes, context: grpc.ServicerContext) -> Reply:
        try:
            self._calls.enter()
        except Draining as error:
            return refuse(error)
        # The call is open until its answer has gone out, not only until it is made.
        if not context.add_callback(self._calls.leave):
            self._calls.leave()
        deadline = Deadline(context.time_remaining(), context.is_active)
        return answer(self._calls, method, data, deadline, self._max_message_bytes)


def _options(max_message_bytes: int, *, shares_port: bool) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", -1),  # `answer` bounds it, with a better message
        ("grpc.max_concurrent_streams", _STREAMS_PER_CONNECTION),
        ("grpc.max_metadata_size", _METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", _METADATA_BYTES),
        ("grpc.max_connection_idle_ms", 10 * _MINUTE_MS),
        ("grpc.max_connection_age_ms", 60 * _MINUTE_MS),
        ("grpc.max_connection_age_grace_ms", 5 * _MINUTE_MS),
        ("grpc.so_reuseport", int(shares_port)),  # a second server on a taken port must fail, not share it
    ]
