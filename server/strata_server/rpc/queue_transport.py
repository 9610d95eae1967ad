"""The fast transport: one thread takes every event, and runs short batches when nothing else is to do."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from google.protobuf.message import DecodeError

from strata_server.addresses import Address
from strata_server.batching import Batcher
from strata_server.deadline import Deadline
from strata_server.errors import Draining, InvalidArgument, Overloaded, StartError
from strata_server.rpc.calls import Calls, Reply, refuse
from strata_server.rpc.core import CoreCall, Handle, Queue
from strata_server.rpc.dispatcher import Dispatcher
from strata_server.rpc.methods import Method, Watch
from strata_server.rpc.transport import Served
from strata_server.rpc.window import Window

_BEAT_S = 0.5
# So many events are handled before a batch that is ready runs, however many more there are.
_EVENTS_AT_ONCE = 256
_MOST_CALLS = 4096
_FOREVER_S = 1e8  # a deadline so far away is none


class QueueTransport:
    """Receives calls by grpcio's completion queue."""

    def __init__(
        self,
        address: Address,
        dispatcher: Dispatcher,
        batcher: Batcher,
        calls: Calls,
        options: Sequence[tuple[str, int]],
        beat: Callable[[], None],
    ) -> None:
        """Take the port, without answering on it yet.

        Args:
            address: where to listen; port 0 takes a free one.
            dispatcher: takes the requests.
            batcher: runs them, the short ones on the thread that receives.
            calls: counts them.
            options: of gRPC.
            beat: called at least once a second.

        Raises:
            StartError: the port cannot be had.
        """
        self.dispatcher = dispatcher
        self.calls = calls
        self._batcher = batcher
        self._beat = beat
        self._served: dict[bytes, Served] = {}
        self._streams: set[_StreamCall] = set()
        try:
            self._queue = Queue(str(address), options, self._accept)
        except OSError as error:
            raise StartError(f"cannot listen for gRPC on {address}; is the port taken?") from error
        self.port = self._queue.port
        self._thread = threading.Thread(target=self._receive, name="receiver", daemon=True)

    def start(self, served: Sequence[Served]) -> None:
        """Receive calls, and answer them."""
        self._served = {each.path.encode(): each for each in served}
        self._queue.start()
        self._thread.start()

    def refuse(self) -> None:
        """End streams that wait for a message: the server stops."""
        status = refuse(Draining("the server is stopping and takes no new calls"))
        for stream in list(self._streams):
            stream.stop(status)

    def close(self) -> None:
        """End what is open, and give the port back."""
        if self._thread.is_alive():
            self._queue.stop()
            self._thread.join()
        self._queue.close()

    def forget(self, stream: "_StreamCall") -> None:
        """Forget a stream that has ended."""
        self._streams.discard(stream)

    def _receive(self) -> None:
        queue, batcher = self._queue, self._batcher
        again_s: float | None = None
        next_beat, events = 0.0, 0
        while not queue.has_stopped:
            timeout_s = (again_s or 0) if batcher.is_ready else _BEAT_S
            if events < _EVENTS_AT_ONCE and queue.poll(timeout_s):
                events += 1
                again_s = None
                continue
            events = 0
            again_s = batcher.run_ready()
            now = time.monotonic()
            if now >= next_beat:
                self._beat()
                next_beat = now + _BEAT_S

    def _accept(self, path: bytes, ends_at: float, handle: Handle) -> None:
        served = self._served.get(path)
        if isinstance(served, Watch):
            _WatchCall(handle, served)
        elif served is None:
            _RefusedCall(handle, Reply(status="UNIMPLEMENTED", details="Method not found!"))
        elif served.is_stream:
            self._streams.add(_StreamCall(self, handle, _deadline(ends_at), served))
        else:
            try:
                if self.calls.open >= _MOST_CALLS:
                    raise Overloaded(f"expected at most {_MOST_CALLS} calls at a time", 0.1, "too_many_calls")
                if served.ends_with_server:
                    self.calls.enter()
            except (Draining, Overloaded) as error:
                _RefusedCall(handle, self.dispatcher.refuse(served, error))
                return
            _UnaryCall(self, handle, _deadline(ends_at), served)


class _RefusedCall(CoreCall):
    """A call whose request is not even received."""

    def __init__(self, handle: Handle, reply: Reply) -> None:
        super().__init__(handle)
        self.watch()
        self.refuse(reply.code, reply.details, reply.trailers, _ignore)


class _UnaryCall(CoreCall):
    """A request, and the response to it."""

    __slots__ = ("_method", "_transport", "deadline")

    def __init__(self, transport: QueueTransport, handle: Handle, deadline: Deadline, method: Method) -> None:
        self._handle = handle
        self._transport = transport
        self._method = method
        self.deadline = deadline
        self.watch()
        self.receive()

    def take(self, data: bytes | None) -> None:
        """Take the request."""
        if data is None:
            self.reply(Reply(status="UNIMPLEMENTED", details="expected a request message, received none"))
        else:
            self._transport.dispatcher.receive(self._method, data, self)

    def close(self) -> None:
        """Note that nobody waits any more."""
        self.deadline.hang_up()

    def reply(self, reply: Reply) -> None:
        """Send the answer."""
        if reply.status == "OK":
            self.answer(reply.body, self._leave)
        else:
            self.refuse(reply.code, reply.details, reply.trailers, self._leave)

    def _leave(self, event: object) -> None:
        if self._method.ends_with_server:
            self._transport.calls.leave()


class _Outbox:
    """Messages of a stream, which go out one after the other, and the status behind them."""

    def __init__(self, core: CoreCall, sent: Callable[[], None]) -> None:
        """Send the headers; `sent` is called once for each message that has gone out."""
        self._core = core
        self._sent = sent
        self._bodies: deque[bytes] = deque()
        self._status: Reply | None = None
        self._is_busy = True
        self._lock = threading.Lock()
        core.open(self._go_on)

    def put(self, body: bytes) -> None:
        """Send a message when its turn comes."""
        with self._lock:
            self._bodies.append(body)
            self._send()

    def end(self, status: Reply) -> None:
        """Send a status behind all messages; the first one counts."""
        with self._lock:
            self._status = self._status or status
            self._send()

    def close(self) -> None:
        """Let go of the call: nothing goes out any more."""
        with self._lock:
            self._bodies.clear()
            self._sent = _do_nothing  # gRPC counts a call as open until nothing refers to it

    def _send(self) -> None:
        if self._is_busy:
            return
        if self._bodies:
            self._is_busy = True
            body = self._bodies.popleft()
            self._core.send(body, self._note_sent, more=bool(self._bodies))
        elif self._status:
            self._is_busy = True  # for good
            self._core.end(self._status.code, self._status.details, self._status.trailers, _ignore)

    def _go_on(self, event: object) -> None:
        with self._lock:
            self._is_busy = False
            self._send()

    def _note_sent(self, event: object) -> None:
        self._go_on(event)
        self._sent()


class _StreamCall(CoreCall):
    """Requests on one call, each with a response of its own; a bounded number is on its way."""

    def __init__(self, transport: QueueTransport, handle: Handle, deadline: Deadline, method: Method) -> None:
        super().__init__(handle)
        self._transport = transport
        self._method = method
        self._window = Window()
        self._lock = threading.Lock()
        self._is_reading = False
        self._status: Reply | None = None
        """What it will end with; no more requests are taken then."""
        self.deadline = deadline
        self.watch()
        self._outbox = _Outbox(self, self._give)
        self._read()

    def stop(self, status: Reply) -> None:
        """Take no more requests, and end once those that came are answered."""
        with self._lock:
            self._status = self._status or status
        self._finish()

    def reply(self, reply: Reply) -> None:
        """Send the response to a request; an error ends the stream."""
        if self._method.ends_with_server:
            self._transport.calls.leave()
        if reply.status == "OK":
            with self._lock:
                self._window.note(len(reply.body))
            self._outbox.put(reply.body)
        else:
            self.stop(reply)
            self._give()

    def _read(self) -> None:
        with self._lock:
            if self._is_reading or self._status or self.deadline.is_over or not self._window.has_room:
                return
            self._is_reading = True
        self.receive()

    def take(self, data: bytes | None) -> None:
        """Take a request."""
        with self._lock:
            self._is_reading = False
            if self._status:
                return
            if data is not None:
                self._window.take(len(data))
        if data is None:
            self.stop(Reply())
            return
        try:
            if self._method.ends_with_server:
                self._transport.calls.enter()
        except Draining as error:
            self.stop(self._transport.dispatcher.refuse(self._method, error))
            self._give()
            return
        self._transport.dispatcher.receive(self._method, data, self)
        self._read()

    def _give(self) -> None:
        with self._lock:
            self._window.give()
        self._finish()
        self._read()

    def _finish(self) -> None:
        with self._lock:
            ends = self._status is not None and not self._window.count
        if ends and self._status:
            self._outbox.end(self._status)

    def close(self) -> None:
        """Note that nobody waits any more."""
        self.deadline.hang_up()
        self._transport.forget(self)
        self._outbox.close()


class _WatchCall(CoreCall):
    """One request that is answered again and again."""

    def __init__(self, handle: Handle, watch: Watch) -> None:
        super().__init__(handle)
        self._asked = watch
        self._end: Callable[[], None] = _do_nothing
        self._is_over = False
        self.watch()
        self._outbox = _Outbox(self, _do_nothing)
        self.receive()

    def take(self, data: bytes | None) -> None:
        """Take the request."""
        if data is None or self._is_over:
            return
        try:
            request = self._asked.request.FromString(data)
        except DecodeError:
            self._outbox.end(refuse(InvalidArgument(f"expected a message {self._asked.request.DESCRIPTOR.full_name}")))
            return
        self._end = self._asked.begin(request, self._outbox.put)

    def close(self) -> None:
        """End the watch."""
        self._is_over = True
        self._end()
        self._outbox.close()


def _deadline(ends_at: float) -> Deadline:
    remaining_s = ends_at - time.time()
    return Deadline(None if remaining_s > _FOREVER_S else max(0.0, remaining_s))


def _ignore(event: object) -> None:
    pass


def _do_nothing() -> None:
    pass
