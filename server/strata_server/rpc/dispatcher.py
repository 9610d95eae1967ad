"""From the bytes of a request to the bytes of its response."""

import logging
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec

from google.protobuf.message import DecodeError, Message

from strata_server.batching import Batcher
from strata_server.errors import InvalidArgument, OverLimit, Overloaded, StrataError
from strata_server.plans import Outcome
from strata_server.rpc.calls import Call, Reply, refuse
from strata_server.rpc.methods import Deferred, Method, Pending

_ENVELOPE_BYTES = 2**16  # names, shapes and tags around an answer's values
# A message as small as that is parsed where it is received: handing it over would take longer.
_SMALL_BYTES = 2**18
_READERS = 4
_READ_BYTES = 512 * 2**20
_READ_AGAIN_S = 0.1  # what is handed over is read within milliseconds, or the CPUs are busy with more of it

P = ParamSpec("P")

log = logging.getLogger(__name__)


class Dispatcher:
    """Takes requests, lets them wait for their run, and writes what came of it."""

    def __init__(self, batcher: Batcher, max_message_bytes: int, read_bytes: int = _READ_BYTES) -> None:
        """Take requests for a batcher.

        Args:
            batcher: runs them.
            max_message_bytes: the largest answer.
            read_bytes: most bytes of messages that are read, or wait for it, beside the receiving thread.
        """
        self._batcher = batcher
        self._max_bytes = max_message_bytes
        self._most_read_bytes = read_bytes
        self._read_bytes = 0
        self._lock = threading.Lock()
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="reader")

    def receive(self, method: Method, data: bytes, call: Call) -> None:
        """Take a request on the receiving thread: what takes long is handed to another."""
        if self._cut_short(method, data, call, here=True):  # which takes as long however large it is
            return
        if len(data) > _SMALL_BYTES:
            self._hand_over(data, call, self.take, method, data, call)
            return
        request = self._parse(method, data, call)
        if request is None:
            return
        if method.is_heavy(request):
            self._hand_over(data, call, self._handle, method, request, data, call)
        else:
            self._handle(method, request, data, call, here=True)

    def _hand_over(self, data: bytes, call: Call, take: Callable[P, None], *args: P.args, **keywords: P.kwargs) -> None:
        """Let another thread take a request, unless too many bytes wait for that."""
        size = len(data)
        with self._lock:
            before = self._read_bytes
            fits = not before or before + size <= self._most_read_bytes
            if fits:
                self._read_bytes += size
        if not fits:
            expected = f"expected at most {self._most_read_bytes} bytes of requests to be read at a time"
            call.reply(refuse(Overloaded(f"{expected}, received {size} behind {before}", _READ_AGAIN_S)))
            return

        def run() -> None:
            try:
                take(*args, **keywords)
            finally:
                with self._lock:
                    self._read_bytes -= size

        self._readers.submit(run)

    def take(self, method: Method, data: bytes, call: Call) -> None:
        """Take a request on a thread that may wait."""
        if call.deadline.is_over:
            call.reply(Reply(status="DEADLINE_EXCEEDED", details="the caller no longer waited; nothing was run"))
            return
        if self._cut_short(method, data, call):
            return
        request = self._parse(method, data, call)
        if request is not None:
            self._handle(method, request, data, call)

    def _parse(self, method: Method, data: bytes, call: Call) -> Message | None:
        try:
            return method.request.FromString(data)
        except DecodeError:
            expected = method.request.DESCRIPTOR.full_name
            received = f"received {len(data)} bytes that are none"
            call.reply(refuse(InvalidArgument(f"expected a message {expected}, {received}")))
            return None

    def _cut_short(self, method: Method, data: bytes, call: Call, *, here: bool = False) -> bool:
        """Take a request whose like has come before; return whether it was one."""
        if not method.shortcut:
            return False
        pending = method.shortcut.find(data, call.deadline)
        if pending is None:
            return False
        try:
            self._submit(method, data, call, pending, here=here)
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets a reply
            call.reply(self._fail(method, data, error))
        return True

    def _handle(self, method: Method, request: Message, data: bytes, call: Call, *, here: bool = False) -> None:
        edition = method.shortcut.edition if method.shortcut else 0
        try:
            response = method.handle(request, call.deadline)
            if isinstance(response, Pending):
                if method.shortcut:
                    method.shortcut.keep(data, request, response, edition)
                self._submit(method, data, call, response, here=here)
                return
            if isinstance(response, Deferred):
                response.future.add_done_callback(lambda _: self._finish(method, data, call, response))
                return
            reply = self._serialize(response)
        except Exception as error:  # noqa: BLE001 - as above
            reply = self._fail(method, data, error)
        call.reply(reply)

    def _finish(self, method: Method, data: bytes, call: Call, deferred: Deferred) -> None:
        """Reply with what came of what a response waited for."""
        try:
            reply = self._serialize(deferred.write(deferred.future.result()))
        except Exception as error:  # noqa: BLE001 - as above
            reply = self._fail(method, data, error)
        call.reply(reply)

    def _submit(self, method: Method, data: bytes, call: Call, pending: Pending, *, here: bool) -> None:
        self._batcher.submit(pending.question.task, partial(self._follow, method, data, call, pending), here=here)

    def _follow(self, method: Method, data: bytes, call: Call, pending: Pending, outcome: Outcome) -> None:
        """Reply with what came of a run."""
        try:
            reply = self._serialize(pending.write(pending.question.answer(outcome)))
        except Exception as error:  # noqa: BLE001 - as above
            reply = self._fail(method, data, error)
        if pending.question.task.trace:
            pending.question.task.trace.end()
        call.reply(reply)

    def _serialize(self, response: Message | bytes) -> Reply:
        body = response if isinstance(response, bytes) else response.SerializeToString()
        if len(body) > self._max_bytes + _ENVELOPE_BYTES:
            raise OverLimit(
                f"expected an answer of at most {self._max_bytes} bytes, received a request for {len(body)}"
            )
        return Reply(body)

    def _fail(self, method: Method, data: bytes, error: Exception) -> Reply:
        if not isinstance(error, StrataError):
            # What went wrong inside is ours to know: the caller gets a number to ask about, the log the rest.
            request_id = uuid.uuid4().hex[:12]
            log.error("request %s: %s failed", request_id, method.path, exc_info=error)
            error = StrataError(f"internal error; the server's log says more under {request_id}")
        log.debug("%s: %s: %s", method.path, error.status, error)
        if method.fail:
            return Reply(method.fail(method.request.FromString(data), error).SerializeToString())
        return refuse(error)
