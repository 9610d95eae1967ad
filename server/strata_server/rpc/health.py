"""grpc.health.v1, by grpcio's own servicer, over any transport."""

from collections.abc import Callable

from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2

from strata_server.deadline import Deadline
from strata_server.errors import NotFound, quote
from strata_server.rpc.methods import Method, Watch

SERVICE = health.SERVICE_NAME
FILE = health_pb2.DESCRIPTOR


class Health:
    """What the server says of itself and of each of its services."""

    def __init__(self) -> None:
        self._servicer = health.HealthServicer()
        self._servicer.set("", health_pb2.HealthCheckResponse.NOT_SERVING)

    def begin(self, services: list[str]) -> None:
        """Say that the server and these services take requests."""
        for service in ("", *services):
            self._servicer.set(service, health_pb2.HealthCheckResponse.SERVING)

    def end(self) -> None:
        """Say that none does, for good."""
        self._servicer.enter_graceful_shutdown()

    def methods(self) -> list[Method | Watch]:
        """Return the RPCs."""
        return [
            Method(
                SERVICE,
                "Check",
                health_pb2.HealthCheckRequest,
                self._check,
                is_heavy=lambda _: False,
                ends_with_server=False,
            ),
            Watch(SERVICE, "Watch", health_pb2.HealthCheckRequest, self._watch),
        ]

    def _check(self, request: Message, deadline: Deadline) -> Message:
        context = _Context()
        response: Message = self._servicer.Check(request, context)
        if context.is_refused:
            raise NotFound(f"unknown service {quote(getattr(request, 'service', ''))}")
        return response

    def _watch(self, request: Message, send: Callable[[bytes], None]) -> Callable[[], None]:
        def send_message(response: Message | None) -> None:
            if response is not None:
                send(response.SerializeToString())

        context = _Context()
        self._servicer.Watch(request, context, send_message)
        return context.end


class _Context:
    """What the servicer wants to know of a call."""

    def __init__(self) -> None:
        self.is_refused = False
        self.end: Callable[[], None] = lambda: None

    def set_code(self, code: object) -> None:
        """Note that the service is unknown."""
        self.is_refused = True

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Keep what ends a watch."""
        self.end = callback
        return True
