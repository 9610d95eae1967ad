"""What HTTP has for the status of a call, and how an error is told."""

import math
from collections.abc import Mapping

import orjson
from starlette.responses import Response

from strata_server.rpc.calls import PUSHBACK, Reply

HTTP_STATUSES = {
    "OK": 200,
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
_TOO_LARGE = 413


def tell_error(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return the response of an error: `{"error": ...}`."""
    return Response(orjson.dumps({"error": message}), status, headers, "application/json")


def tell_refusal(reply: Reply) -> Response:
    """Return the response of a call that was refused: 429 with Retry-After, or 413 where it will never fit."""
    status = HTTP_STATUSES.get(reply.status, 500)
    pushback = dict(reply.trailers).get(PUSHBACK)
    if pushback is None:
        return tell_error(status, reply.details)
    if int(pushback) < 0:
        return tell_error(_TOO_LARGE, reply.details)
    seconds = max(1, math.ceil(int(pushback) / 1000))
    return tell_error(status, reply.details, {"retry-after": str(seconds), PUSHBACK: pushback})
