"""What every request must pass, and what every answer carries: a page that a user visits must reach nothing here."""

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Iterable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from strata_server.http.drain import Drain
from strata_server.http.statuses import tell_error

ANY_HOST = "*"

_MOST_HEADERS = 100
_MOST_HEADER_BYTES = 16 * 1024  # as many as gRPC's metadata
_LONGEST_TARGET = 8 * 1024
# Of two, a proxy may have looked at the other one.
_ONCE = ("Origin", "Content-Type", "Content-Encoding", "Inference-Header-Content-Length")
_BODY_TYPES = ("application/json", "application/octet-stream")
# What comes after an answer is read and thrown away for so long: a caller who still sends would not read it.
_DISCARD_S = 2.0
_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Hosts:
    """The names under which this server may be asked: any other is a page's whose name was bent to this address."""

    def __init__(self, names: Iterable[str]) -> None:
        """Allow addresses, localhost, this machine's name, and these; `*` allows any."""
        self._names = {"localhost", socket.gethostname().lower(), *(name.strip().lower() for name in names)}

    def allow(self, host: str) -> bool:
        """Say whether a Host header names this server."""
        if ANY_HOST in self._names:
            return True
        name = _split_host(host)
        return name in self._names or _is_address(name)


def _split_host(host: str) -> str:
    """Return the name of a Host header, without its port; nothing if it has none."""
    try:
        return (urlsplit(f"//{host}").hostname or "").removesuffix(".")
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(name)
        return True
    return False


class Guard:
    """An application behind the checks."""

    def __init__(self, app: ASGIApp, hosts: Hosts, drain: Drain) -> None:
        self._app = app
        self._hosts = hosts
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        visit = _Visit(headers, receive, send, self._drain)
        refusal = _refuse_head(scope, headers) or self._refuse(scope, headers)
        if refusal:
            await refusal(scope, visit.receive, visit.send)
        else:
            await self._app(scope, visit.receive, visit.send)

    def _refuse(self, scope: Scope, headers: Headers) -> Response | None:
        host = headers.get("host")
        if host is not None and not self._hosts.allow(host):
            return tell_error(421, f"expected a Host that --http-hosts allows, received {host[:80]!r}")
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2].lower() != (host or "").lower():
            return tell_error(403, f"expected no other Origin than this server's, received {origin[:80]!r}")
        kind = headers.get("content-type")
        if scope["method"] == "POST" and kind and kind.partition(";")[0].strip().lower() not in _BODY_TYPES:
            return tell_error(415, f"expected the content-type {' or '.join(_BODY_TYPES)}, received {kind[:80]!r}")
        return None


def _refuse_head(scope: Scope, headers: Headers) -> Response | None:
    """Refuse what stands before a body if it is too long, or can be read in two ways."""
    raw: list[tuple[bytes, bytes]] = scope["headers"]
    size = sum(len(name) + len(value) for name, value in raw)
    if len(raw) > _MOST_HEADERS or size > _MOST_HEADER_BYTES:
        expected = f"expected at most {_MOST_HEADERS} headers of {_MOST_HEADER_BYTES} bytes together"
        return tell_error(431, f"{expected}, received {len(raw)} of {size}")
    ambiguity = _find_ambiguity(headers)
    if ambiguity:
        return tell_error(400, ambiguity)
    target = len(scope["raw_path"]) + len(scope["query_string"])
    if target > _LONGEST_TARGET:
        return tell_error(414, f"expected a path of at most {_LONGEST_TARGET} bytes, received {target}")
    return None


def _find_ambiguity(headers: Headers) -> str:
    """Say what two readers of a request would read in two ways; nothing where all is clear."""
    if "content-length" in headers and "transfer-encoding" in headers:
        return "expected Content-Length or Transfer-Encoding, received both"
    for name in _ONCE:
        times = len(headers.getlist(name))
        if times > 1:
            return f"expected one header {name}, received {times}"
    return ""


class _Visit:
    """One request and its answer, which gets its headers, and which a body that was not read does not outlive."""

    def __init__(self, headers: Headers, receive: Receive, send: Send, drain: Drain) -> None:
        self._receive = receive
        self._send = send
        self._drain = drain
        self._is_read = headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers

    async def receive(self) -> MutableMapping[str, Any]:
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            self._is_read = True
        return message

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=message["headers"])
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            if not self._is_read or self._drain.has_begun:
                headers["connection"] = "close"
        elif not self._is_read and not message.get("more_body"):
            await self._send({**message, "more_body": True})
            await self._discard()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    async def _discard(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DISCARD_S):
                while not self._is_read:
                    await self.receive()
