"""The plain transport: grpcio's public server, which takes a thread for each call."""

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import grpc
from google.protobuf.message import DecodeError

from strata_server.addresses import Address
from strata_server.deadline import Deadline
from strata_server.errors import Draining, InvalidArgument, StartError
from strata_server.rpc.calls import Calls, Reply, WaitingCall, refuse
from strata_server.rpc.dispatcher import Dispatcher
from strata_server.rpc.methods import Method, Watch
from strata_server.rpc.transport import Served
from strata_server.rpc.window import Window

# grpcio holds a thread for each call that has begun, also for one whose message never comes.
_CALLS_BEGUN = 512
_BEAT_S = 0.5


class PublicTransport:
    """Receives calls by grpcio's public server."""

    def __init__(
        self,
        address: Address,
        dispatcher: Dispatcher,
        calls: Calls,
        options: Sequence[tuple[str, int]],
        beat: Callable[[], None],
    ) -> None:
        """Take the port, without answering on it yet.

        Args:
            address: where to listen; port 0 takes a free one.
            dispatcher: takes the requests.
            calls: counts them.
            options: of gRPC.
            beat: called at least once a second.

        Raises:
            StartError: the port cannot be had.
        """
        self.dispatcher = dispatcher
        self.calls = calls
        self._beat = beat
        self._streams: set[_Stream] = set()
        self._stopped = threading.Event()
        self._server = grpc.server(
            ThreadPoolExecutor(_CALLS_BEGUN, thread_name_prefix="call"),
            options=options,
        )
        try:
            self.port = self._server.add_insecure_port(str(address))
        except RuntimeError as error:
            raise StartError(f"cannot listen for gRPC on {address}; is the port taken?") from error

    def start(self, served: Sequence[Served]) -> None:
        """Receive calls, and answer them."""
        for each in served:
            handlers = grpc.method_handlers_generic_handler(each.service, {each.name: self._handler(each)})
            self._server.add_generic_rpc_handlers((handlers,))
        self._server.start()
        threading.Thread(target=self._beat_on, name="beat", daemon=True).start()

    def refuse(self) -> None:
        """End streams that wait for a message: the server stops."""
        status = refuse(Draining("the server is stopping and takes no new calls"))
        for stream in list(self._streams):
            stream.stop(status)

    def close(self) -> None:
        """End what is open, and give the port back."""
        self._stopped.set()
        self._server.stop(grace=None).wait()

    def _beat_on(self) -> None:
        while not self._stopped.wait(_BEAT_S):
            self._beat()

    def _handler(self, served: Served) -> "grpc.RpcMethodHandler[bytes, bytes]":
        # Bytes in, bytes out: the dispatcher parses.
        if isinstance(served, Watch):
            return grpc.unary_stream_rpc_method_handler(partial(_watch, served))
        if served.is_stream:
            return grpc.stream_stream_rpc_method_handler(partial(self._answer_stream, served))
        return grpc.unary_unary_rpc_method_handler(partial(self._answer, served))

    def _answer(self, method: Method, data: bytes, context: grpc.ServicerContext) -> bytes:
        call = WaitingCall(Deadline(context.time_remaining(), context.is_active))
        if method.ends_with_server:
            try:
                self.calls.enter()
            except Draining as error:
                _abort(context, self.dispatcher.refuse(method, error))
            # The call is open until its answer has gone out, not only until it is made.
            if not context.add_callback(self.calls.leave):
                self.calls.leave()
        self.dispatcher.take(method, data, call)
        reply = call.wait()
        if reply.status != "OK":
            _abort(context, reply)
        return reply.body

    def _answer_stream(
        self, method: Method, requests: Iterator[bytes], context: grpc.ServicerContext
    ) -> Iterator[bytes]:
        stream = _Stream(self, method, Deadline(context.time_remaining(), context.is_active))
        self._streams.add(stream)
        context.add_callback(partial(stream.stop, Reply(status="CANCELLED")))
        threading.Thread(target=stream.read, args=(requests,), name="stream", daemon=True).start()
        try:
            yield from stream.answers()
        finally:
            self._streams.discard(stream)
        status = stream.status
        if status and status.status != "OK":
            _abort(context, status)


class _Stream:
    """Requests on one call, each with a response of its own; a bounded number is on its way."""

    def __init__(self, transport: PublicTransport, method: Method, deadline: Deadline) -> None:
        self._transport = transport
        self._method = method
        self._window = Window()
        self._changed = threading.Condition()
        self._bodies: list[bytes] = []
        self.status: Reply | None = None
        self.deadline = deadline

    def stop(self, status: Reply) -> None:
        """Take no more requests, and end once those that came are answered."""
        with self._changed:
            self.status = self.status or status
            self._changed.notify_all()

    def reply(self, reply: Reply) -> None:
        """Send the response to a request; an error ends the stream."""
        if self._method.ends_with_server:
            self._transport.calls.leave()
        with self._changed:
            if reply.status == "OK":
                self._window.note(len(reply.body))
                self._bodies.append(reply.body)
            else:
                self._window.give()
                self.status = self.status or reply
            self._changed.notify_all()

    def read(self, requests: Iterator[bytes]) -> None:
        """Take requests while there is room for them."""
        with contextlib.suppress(grpc.RpcError):  # the caller hung up
            for data in requests:
                if not self._take(data):
                    return
        self.stop(Reply())

    def answers(self) -> Iterator[bytes]:
        """Return the responses as they come."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._bodies or (self.status and not self._window.count))
                if not self._bodies:
                    return
                body = self._bodies.pop(0)
            yield body  # grpcio asks for the next one when this one has gone out
            with self._changed:
                self._window.give()
                self._changed.notify_all()

    def _take(self, data: bytes) -> bool:
        with self._changed:
            if self.status:
                return False
            self._window.take(len(data))
        try:
            if self._method.ends_with_server:
                self._transport.calls.enter()
        except Draining as error:
            with self._changed:
                self._window.give()
            self.stop(self._transport.dispatcher.refuse(self._method, error))
            return False
        self._transport.dispatcher.take(self._method, data, self)
        with self._changed:
            self._changed.wait_for(lambda: self._window.has_room or self.status)
            return self.status is None


def _watch(watch: Watch, data: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
    bodies: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    try:
        request = watch.request.FromString(data)
    except DecodeError:
        _abort(context, refuse(InvalidArgument(f"expected a message {watch.request.DESCRIPTOR.full_name}")))
    end = watch.begin(request, bodies.put)
    if not context.add_callback(partial(bodies.put, None)):
        bodies.put(None)
    try:
        while (body := bodies.get()) is not None:
            yield body
    finally:
        end()


def _abort(context: grpc.ServicerContext, reply: Reply) -> None:
    context.set_trailing_metadata(reply.trailers)
    context.abort(grpc.StatusCode[reply.status], reply.details)
