"""The gRPC server: services, health and reflection over a transport."""

from collections.abc import Callable, Mapping, Sequence

from strata.v1 import catalog_pb2, inference_pb2, repository_pb2

from strata_server.addresses import Address
from strata_server.batching import Batcher
from strata_server.rpc import health, reflection
from strata_server.rpc.calls import Calls
from strata_server.rpc.dispatcher import Dispatcher
from strata_server.rpc.methods import Method
from strata_server.rpc.open_inference import open_inference_pb2
from strata_server.rpc.public_transport import PublicTransport
from strata_server.rpc.queue_transport import QueueTransport
from strata_server.rpc.transport import Transport, grpc_options
from strata_server.settings import BatchSettings
from strata_server.tallies import Tallies

_FILES = (
    catalog_pb2.DESCRIPTOR,
    inference_pb2.DESCRIPTOR,
    repository_pb2.DESCRIPTOR,
    open_inference_pb2.DESCRIPTOR,
    health.FILE,
)


class GrpcServer:
    """Serves methods, grpc.health.v1 and reflection on one port."""

    def __init__(
        self,
        address: Address,
        *,
        max_message_bytes: int,
        transport: str = "queue",
        batches: BatchSettings | None = None,
        shares_port: bool = False,
        beat: Callable[[], None] = lambda: None,
        tallies: Tallies | None = None,
    ) -> None:
        """Take the port, without answering on it yet.

        Args:
            address: where to listen; port 0 takes a free one.
            max_message_bytes: the largest request, after decompression, and the largest answer.
            transport: queue or public.
            batches: how rows of several requests run together.
            shares_port: whether other processes listen on the same port.
            beat: called at least once a second, once started, for as long as calls are received.
            tallies: count what is asked.

        Raises:
            StartError: the port cannot be had.
        """
        self.calls = Calls()
        """The open ones; other protocols count theirs here as well."""
        self._health = health.Health()
        tallies = tallies or Tallies()
        self.batcher = Batcher(batches or BatchSettings(), tallies)
        """What lets requests wait, and runs them."""
        self.dispatcher = Dispatcher(self.batcher, max_message_bytes, tallies=tallies)
        """What takes the requests of every protocol."""
        options = grpc_options(max_message_bytes, shares_port=shares_port)
        self._transport: Transport
        if transport == "queue":
            self._transport = QueueTransport(address, self.dispatcher, self.batcher, self.calls, options, beat)
        else:
            self._transport = PublicTransport(address, self.dispatcher, self.calls, options, beat)
        self.port = self._transport.port

    def start(self, services: Mapping[str, Sequence[Method]]) -> None:
        """Answer calls of these services, by their full names."""
        methods = [method for each in services.values() for method in each]
        names = [*services, health.SERVICE]
        self._transport.start([*methods, *self._health.methods(), *reflection.reflection_methods(names, _FILES)])
        self._health.begin(list(services))

    def stop(self, drain_s: float) -> bool:
        """Say NOT_SERVING, let the open calls finish, close; return whether all finished in time."""
        self._health.end()
        self._transport.refuse()
        finished = self.calls.drain(drain_s)
        # What is left are health watches, which never end by themselves.
        self._transport.close()
        return finished
