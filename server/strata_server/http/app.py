from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from strata_server.http.metrics import metrics_route
from strata_server.tallies import Tallies


def make_app(lack: Callable[[], str], tallies: Tallies) -> Starlette:
    """Return the routes of the HTTP port: /healthz, the process runs, /readyz, it takes requests, and /metrics.

    Args:
        lack: says what is missing until requests are taken; nothing when none is.
        tallies: what /metrics tells.
    """

    async def healthz(request: Request) -> PlainTextResponse:  # noqa: ARG001 - every route takes its request
        return PlainTextResponse("ok\n")

    async def readyz(request: Request) -> PlainTextResponse:  # noqa: ARG001 - as above
        missing = lack()
        return PlainTextResponse(f"{missing}\n", 503) if missing else PlainTextResponse("ready\n")

    return Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz), metrics_route(tallies)])
