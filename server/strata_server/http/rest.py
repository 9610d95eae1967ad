"""The Open Inference Protocol over HTTP: each request becomes the message that gRPC would have brought."""

import asyncio
import gzip
import logging
import uuid
import zlib
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from strata_server.errors import Draining, HungUp, OverLimit, StrataError
from strata_server.http.answers import Answers
from strata_server.http.bodies import Bodies, Slow, UnknownCoding
from strata_server.http.content import Content
from strata_server.http.drain import Drain
from strata_server.http.exchange import Exchange
from strata_server.http.operations import OPERATIONS, Conversion, Operation
from strata_server.http.statuses import tell_error, tell_refusal
from strata_server.rpc.calls import Calls, refuse
from strata_server.rpc.dispatcher import ENVELOPE_BYTES, Dispatcher
from strata_server.rpc.methods import Method
from strata_server.rpc.open_inference import open_inference_pb2 as pb

JSON_LENGTH = "inference-header-content-length"

# What takes longer than some hundred microseconds is not done on the loop, which answers everyone.
_SMALL_BYTES = 2**18
_LEAST_COMPRESSED_BYTES = 1024
_FASTEST = 1  # tensors of floats hardly get smaller with more work

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Served:
    """What answers, once the models are loaded."""

    methods: dict[str, Method]
    responses: dict[str, type[Message]]
    dispatcher: Dispatcher
    calls: Calls


class Rest:
    """Answers /v2, by the methods that answer gRPC."""

    def __init__(self, lack: Callable[[], str], max_message_bytes: int) -> None:
        """Refuse requests, until `open`.

        Args:
            lack: says what is missing until requests are taken; nothing when none is.
            max_message_bytes: the largest body, after decompression, and the largest answer, before compression.
        """
        self._lack = lack
        self._bodies = Bodies(max_message_bytes)
        self._answers = Answers()
        self.drain = Drain()
        """Begins when the server stops."""
        self._served: _Served | None = None

    def open(self, methods: Iterable[Method], dispatcher: Dispatcher, calls: Calls) -> None:
        """Answer requests.

        Args:
            methods: of inference.GRPCInferenceService.
            dispatcher: takes their requests.
            calls: counts them, together with those of gRPC.
        """
        declared = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name
        # A shortcut knows requests by the bytes of their messages, and here there are none.
        named = {each.name: replace(each, shortcut=None) for each in methods}
        responses = {name: GetMessageClass(declared[name].output_type) for name in named}
        self._served = _Served(named, responses, dispatcher, calls)

    def routes(self) -> list[Route]:
        """Return the routes of /v2."""
        by_path: dict[str, dict[str, Operation]] = {}
        for operation in OPERATIONS:
            for path in operation.paths:
                by_path.setdefault(path, {})[operation.method] = operation
        routes = [Route(path, _Endpoint(self, operations)) for path, operations in by_path.items()]
        return [Route("/v2/health/live", self._live), Route("/v2/health/ready", self._ready), *routes]

    async def _live(self, request: Request) -> Response:
        return JSONResponse({"live": True})

    async def _ready(self, request: Request) -> Response:
        missing = self._lack()
        return JSONResponse({"ready": False, "error": missing}, 503) if missing else JSONResponse({"ready": True})

    async def answer(self, operation: Operation, request: Request, send: Send) -> None:
        """Answer one request; its call is open from when it has come until the answer has gone out."""
        if self._served is None:
            raise Draining("the server takes no requests yet: its models are being loaded")
        with ExitStack() as until_sent:
            response = await self._ask(self._served, operation, request, until_sent)
            await response(request.scope, request.receive, send)

    async def _ask(self, served: _Served, operation: Operation, request: Request, until_sent: ExitStack) -> Response:
        with self._bodies.read() as reading:
            # Also one that is not asked for is read: what is left of it would stand before the next request.
            body = await self.drain.read(reading.read(request.headers, request.receive))
            served.calls.enter()
            until_sent.callback(served.calls.leave)
            conversion = operation.begin(request.path_params, request.headers.get(JSON_LENGTH), body)
            exchange = Exchange()
            served.dispatcher.convert(served.methods[operation.rpc], len(body), conversion.read, exchange)
            del body
            with self.drain.hold(exchange):
                reply = await exchange.wait(request.receive)
        if reply.status != "OK":
            return tell_refusal(reply)
        answer = until_sent.enter_context(self._answers.hold())
        answer.count(len(reply.body))
        kind = served.responses[operation.rpc]
        content = await _beside(len(reply.body), _write, conversion, kind, reply.body, self._bodies.max_bytes)
        answer.count(len(content.body))
        return await _respond(content, request.headers)


class _Endpoint:
    """What is asked at one path."""

    def __init__(self, rest: Rest, operations: dict[str, Operation]) -> None:
        self._rest = rest
        self._operations = operations

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        operation = self._operations.get("GET" if request.method == "HEAD" else request.method)
        if operation is None:
            await tell_wrong_method(request.method, self._operations)(scope, receive, send)
            return
        sending = _Sending(send)
        try:
            await self._rest.answer(operation, request, sending)
        except HungUp:
            return
        except Exception as error:
            if sending.has_begun:
                raise
            await _tell(error, operation)(scope, receive, send)


class _Sending:
    """Sends, and knows whether it has."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.has_begun = False

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        self.has_begun = True
        await self._send(message)


def tell_wrong_method(method: str, known: Iterable[str]) -> Response:
    """Return the response to a method that a path has not."""
    allowed = ", ".join(sorted(known))
    return tell_error(405, f"expected the method {allowed}, received {method[:20]!r}", {"allow": allowed})


def _tell(error: Exception, operation: Operation) -> Response:
    match error:
        case Slow():
            return tell_error(408, str(error))
        case UnknownCoding():
            return tell_error(415, str(error), {"accept-encoding": "gzip, deflate"})
        case StrataError():
            return tell_refusal(refuse(error))
    # As the dispatcher has it: the caller gets a number to ask about, the log the rest.
    request_id = uuid.uuid4().hex[:12]
    log.error("request %s: %s over HTTP failed", request_id, operation.rpc, exc_info=error)
    return tell_refusal(refuse(StrataError(f"internal error; the server's log says more under {request_id}")))


async def _beside(size: int, work: Callable[..., Any], *args: Any) -> Any:
    """Return what some work comes to, done beside the loop if it is about many bytes."""
    return await asyncio.to_thread(work, *args) if size > _SMALL_BYTES else work(*args)


def _write(conversion: Conversion, kind: type[Message], data: bytes, max_bytes: int) -> Content:
    content = conversion.write(kind.FromString(data))
    # The message was measured, but numbers are longer in JSON.
    if len(content.body) > max_bytes + ENVELOPE_BYTES:
        expected = f"expected an answer of at most {max_bytes} bytes, received a request for {len(content.body)}"
        raise OverLimit(f"{expected}; binary data is shorter than JSON")
    return content


async def _respond(content: Content, headers: Headers) -> Response:
    body, told = content.body, {}
    if content.json_bytes is not None:
        told[JSON_LENGTH] = str(content.json_bytes)
    coding = _choose_coding(headers.getlist("accept-encoding"))
    if coding and len(body) >= _LEAST_COMPRESSED_BYTES:
        body = await _beside(len(body), _COMPRESS[coding], body)
        told["content-encoding"] = coding
    kind = "application/json" if content.json_bytes is None else "application/octet-stream"
    return Response(body, content.status, told, kind)


_COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda body: gzip.compress(body, _FASTEST),
    "deflate": lambda body: zlib.compress(body, _FASTEST),
}


def _choose_coding(accepted: Sequence[str]) -> str:
    """Return how to compress: as a caller asks who names one way and no other.

    Libraries name all they know of themselves, and floats are hardly worth the time.
    """
    coding = ",".join(accepted).strip().lower()
    return coding if coding in _COMPRESS else ""
