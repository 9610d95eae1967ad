"""What the HTTP port answers."""

from collections.abc import Callable, Iterable, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from strata_server.http.guard import Guard, Hosts
from strata_server.http.openapi import openapi_routes
from strata_server.http.rest import Rest, tell_wrong_method
from strata_server.http.statuses import tell_error


def make_app(lack: Callable[[], str], rest: Rest, hosts: Iterable[str], routes: Sequence[BaseRoute] = ()) -> ASGIApp:
    """Return the application of the HTTP port, behind its guard.

    Args:
        lack: says what is missing until requests are taken; nothing when none is.
        rest: answers /v2.
        hosts: names under which the server may be asked, beside its addresses.
        routes: more of them, such as /metrics.
    """

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(request: Request) -> Response:
        missing = lack()
        return PlainTextResponse(f"{missing}\n", 503) if missing else PlainTextResponse("ready\n")

    health = [Route("/healthz", healthz), Route("/readyz", readyz)]
    app = Starlette(
        routes=[*health, *rest.routes(), *openapi_routes(), *routes], exception_handlers={HTTPException: _tell}
    )
    app.router.redirect_slashes = False
    return Guard(app, Hosts(hosts), rest.drain)


async def _tell(request: Request, error: Exception) -> Response:
    """Tell what is wrong with a path as every error is told."""
    if isinstance(error, HTTPException) and error.status_code == 405:
        return tell_wrong_method(request.method, (error.headers or {}).get("Allow", "").split(", "))
    return tell_error(404, f"unknown path {request.url.path[:80]!r}; /docs lists those that there are")
