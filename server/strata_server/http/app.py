from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route


def make_app(is_ready: Callable[[], bool]) -> Starlette:
    """Return the routes of the HTTP port: /healthz, the process runs, and /readyz, it takes requests."""

    async def healthz(request: Request) -> PlainTextResponse:  # noqa: ARG001 - every route takes its request
        return PlainTextResponse("ok\n")

    async def readyz(request: Request) -> PlainTextResponse:  # noqa: ARG001 - as above
        return PlainTextResponse("ready\n") if is_ready() else PlainTextResponse("not ready\n", 503)

    return Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz)])
