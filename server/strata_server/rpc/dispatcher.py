"""From the bytes of a request to the bytes of its response."""

import logging
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Concatenate, NamedTuple, ParamSpec

from google.protobuf.message import DecodeError, Message

from strata_server.batching import Batcher
from strata_server.errors import InvalidArgument, OverLimit, Overloaded, StrataError
from strata_server.plans import Outcome
from strata_server.rpc.calls import Call, Reply, refuse
from strata_server.rpc.methods import Deferred, Method, Pending
from strata_server.tallies import Tallies, Tally
from strata_server.version import Version

ENVELOPE_BYTES = 2**16
"""Names, shapes and tags around an answer's values, beside the limit for those."""
# A message as small as that is parsed where it is received: handing it over would take longer.
_SMALL_BYTES = 2**18
_READERS = 4
_READ_BYTES = 512 * 2**20
_READ_AGAIN_S = 0.1  # what is handed over is read within milliseconds, or the CPUs are busy with more of it

P = ParamSpec("P")

log = logging.getLogger(__name__)


class Asked(NamedTuple):
    """A request on its way."""

    method: Method
    data: bytes
    call: Call
    size: int
    """In bytes, in the form in which it came; `data` is empty where that is another one."""
    came_ns: int
    """When it was received, by the monotonic clock."""


class Dispatcher:
    """Takes requests, lets them wait for their run, and writes what came of it."""

    def __init__(
        self,
        batcher: Batcher,
        max_message_bytes: int,
        read_bytes: int = _READ_BYTES,
        tallies: Tallies | None = None,
    ) -> None:
        """Take requests for a batcher.

        Args:
            batcher: runs them.
            max_message_bytes: the largest answer.
            read_bytes: most bytes of messages that are read, or wait for it, beside the receiving thread.
            tallies: count the requests.
        """
        self._tallies = tallies or Tallies()
        self._batcher = batcher
        self._max_bytes = max_message_bytes
        self._most_read_bytes = read_bytes
        self._read_bytes = 0
        self._lock = threading.Lock()
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="reader")

    def close(self) -> None:
        """End the threads; nothing may be received any more."""
        self._readers.shutdown()

    def receive(self, method: Method, data: bytes, call: Call) -> None:
        """Take a request on the receiving thread: what takes long is handed to another."""
        asked = Asked(method, data, call, len(data), time.monotonic_ns())
        if self._cut_short(asked, here=True):  # which takes as long however large it is
            return
        if len(data) > _SMALL_BYTES:
            self._hand_over(asked, self._take)
            return
        request = self._parse(asked)
        if request is None:
            return
        if method.is_heavy(request):
            self._hand_over(asked, self._handle, request)
        else:
            self._handle(asked, request, here=True)

    def convert(self, method: Method, size: int, build: Callable[[], Message], call: Call) -> None:
        """Take a request that came in another form; like `receive`, for methods that are no streams.

        Args:
            method: what is called; without a shortcut, which reads a message's bytes.
            size: how many bytes the other form has.
            build: makes the message; raises a StrataError for what cannot be meant.
            call: who waits.
        """
        asked = Asked(method, b"", call, size, time.monotonic_ns())
        if size > _SMALL_BYTES:
            self._hand_over(asked, self._convert, build)
        else:
            self._convert(asked, build, here=True)

    def _convert(self, asked: Asked, build: Callable[[], Message], *, here: bool = False) -> None:
        if self._is_late(asked):
            return
        try:
            request = build()
            is_heavy = asked.method.is_heavy(request)
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets a reply
            asked.call.reply(self._fail(asked, error))
            return
        if here and is_heavy:
            self._hand_over(asked, self._handle, request)
        else:
            self._handle(asked, request)

    def refuse(self, method: Method, error: StrataError) -> Reply:
        """Count a request that was not even received, and return what tells why."""
        return self._tell(method, error, self._tallies.unknown, 0)

    def _hand_over(
        self, asked: Asked, take: Callable[Concatenate[Asked, P], None], *args: P.args, **keywords: P.kwargs
    ) -> None:
        """Let another thread take a request, unless too many bytes wait for that."""
        size = asked.size
        with self._lock:
            before = self._read_bytes
            fits = not before or before + size <= self._most_read_bytes
            if fits:
                self._read_bytes += size
        if not fits:
            expected = f"expected at most {self._most_read_bytes} bytes of requests to be read at a time"
            error = Overloaded(f"{expected}, received {size} behind {before}", _READ_AGAIN_S, "unread_bytes")
            self._refuse(asked, error)
            return

        def run() -> None:
            try:
                take(asked, *args, **keywords)
            finally:
                with self._lock:
                    self._read_bytes -= size

        self._readers.submit(run)

    def take(self, method: Method, data: bytes, call: Call) -> None:
        """Take a request on a thread that may wait."""
        self._take(Asked(method, data, call, len(data), time.monotonic_ns()))

    def _take(self, asked: Asked) -> None:
        if self._is_late(asked) or self._cut_short(asked):
            return
        request = self._parse(asked)
        if request is not None:
            self._handle(asked, request)

    def _is_late(self, asked: Asked) -> bool:
        """Refuse a request that nobody waits for any more."""
        if asked.call.deadline.is_over:
            self._refuse(asked, asked.call.deadline.refusal)
            return True
        return False

    def _refuse(self, asked: Asked, error: StrataError) -> None:
        """Reply that a request is not even handled, which ends a stream."""
        took_ns = time.monotonic_ns() - asked.came_ns
        asked.call.reply(self._tell(asked.method, error, self._tallies.unknown, took_ns))

    def _parse(self, asked: Asked) -> Message | None:
        message = asked.method.request
        try:
            return message.FromString(asked.data)
        except DecodeError:
            received = f"received {len(asked.data)} bytes that are none"
            self._refuse(asked, InvalidArgument(f"expected a message {message.DESCRIPTOR.full_name}, {received}"))
            return None

    def _cut_short(self, asked: Asked, *, here: bool = False) -> bool:
        """Take a request whose like has come before; return whether it was one."""
        shortcut = asked.method.shortcut
        if not shortcut:
            return False
        pending = shortcut.find(asked.data, asked.call.deadline)
        if pending is None:
            return False
        self._submit(asked, pending, here=here)
        return True

    def _handle(self, asked: Asked, request: Message, *, here: bool = False) -> None:
        method = asked.method
        edition = method.shortcut.edition if method.shortcut else 0
        try:
            response = method.handle(request, asked.call.deadline)
            if isinstance(response, Pending):
                if method.shortcut:
                    method.shortcut.keep(asked.data, request, response, edition)
                self._submit(asked, response, here=here)
                return
            if isinstance(response, Deferred):
                response.future.add_done_callback(lambda _: self._finish(asked, response))
                return
            reply = self._serialize(response)
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets a reply
            reply = self._fail(asked, error)
        asked.call.reply(reply)

    def _finish(self, asked: Asked, deferred: Deferred) -> None:
        """Reply with what came of what a response waited for."""
        try:
            reply = self._serialize(deferred.write(deferred.future.result()))
        except Exception as error:  # noqa: BLE001 - as above
            reply = self._fail(asked, error)
        asked.call.reply(reply)

    def _submit(self, asked: Asked, pending: Pending, *, here: bool) -> None:
        try:
            self._batcher.submit(pending.question.task, partial(self._follow, asked, pending), here=here)
        except Exception as error:  # noqa: BLE001 - as above
            asked.call.reply(self._fail(asked, error, pending.question.task.plan.version))

    def _follow(self, asked: Asked, pending: Pending, outcome: Outcome) -> None:
        """Reply with what came of a run."""
        task = pending.question.task
        plan, start_ns = task.plan, time.monotonic_ns()
        try:
            reply = self._serialize(pending.write(pending.question.answer(outcome)))
        except Exception as error:  # noqa: BLE001 - as above
            reply = self._fail(asked, error, plan.version)
        else:
            end_ns = time.monotonic_ns()
            self._tallies.find(plan.version.model, plan.version.number).succeed(
                plan.kind,
                plan.rows,
                asked.came_ns,
                end_ns,
                task.queue_ns,
                task.input_ns,
                task.infer_ns,
                task.output_ns + end_ns - start_ns,
            )
        if task.trace:
            task.trace.end()
        asked.call.reply(reply)

    def _serialize(self, response: Message | bytes) -> Reply:
        body = response if isinstance(response, bytes) else response.SerializeToString()
        if len(body) > self._max_bytes + ENVELOPE_BYTES:
            raise OverLimit(
                f"expected an answer of at most {self._max_bytes} bytes, received a request for {len(body)}"
            )
        return Reply(body)

    def _fail(self, asked: Asked, error: Exception, version: Version | None = None) -> Reply:
        """Count a request that failed, and return what tells why; what it asked for may be known already."""
        method = asked.method
        if not isinstance(error, StrataError):
            # What went wrong inside is ours to know: the caller gets a number to ask about, the log the rest.
            request_id = uuid.uuid4().hex[:12]
            log.error("request %s: %s failed", request_id, method.path, exc_info=error)
            error = StrataError(f"internal error; the server's log says more under {request_id}")
        log.debug("%s: %s: %s", method.path, error.status, error)
        tally = self._tallies.find(*((version.model, version.number) if version else error.about))
        refusal = self._tell(method, error, tally, time.monotonic_ns() - asked.came_ns)
        if method.fail:
            return Reply(method.fail(method.request.FromString(asked.data), error).SerializeToString())
        return refusal

    def _tell(self, method: Method, error: StrataError, tally: Tally, took_ns: int) -> Reply:
        """Count an error, and return the reply that tells it."""
        if method.is_inference:
            tally.fail(error.status, took_ns)
        if error.reason:
            self._tallies.reject(error.reason)
        return refuse(error)
