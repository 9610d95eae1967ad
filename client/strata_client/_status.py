"""What gRPC says of a call that failed, in the words of `errors`: no caller sees a type of gRPC."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, cast

import grpc

from strata_client import errors
from strata_client.errors import DeadlineExceeded, ServerError, StrataError, Unavailable, Unimplemented

_ERRORS: dict[str, type[StrataError]] = {
    error.code: error
    for error in (
        errors.InvalidArgument,
        errors.NotFound,
        errors.ResourceExhausted,
        DeadlineExceeded,
        Unavailable,
        errors.Unauthenticated,
        errors.PermissionDenied,
        Unimplemented,
        errors.Cancelled,
    )
}

# How gRPC itself begins when it reached nobody; anything else is a server's own text.
_NOBODY = ("failed to connect", "errors resolving", "DNS resolution failed")


class _Failure(Protocol):
    """The side of a gRPC error that says why; blocking and asyncio calls have it alike."""

    def code(self) -> grpc.StatusCode: ...
    def details(self) -> str | None: ...


@contextmanager
def translated(address: str, timeout_s: float) -> Iterator[None]:
    """Raise a StrataError for whatever gRPC raises."""
    try:
        yield
    except grpc.RpcError as error:
        raise _translate(cast("_Failure", error), address, timeout_s) from error
    except ValueError as error:
        # All that gRPC says of a channel that was closed before the call.
        if "closed" not in str(error):
            raise
        raise errors.Cancelled("the client is closed") from error


def _translate(failure: _Failure, address: str, timeout_s: float) -> StrataError:
    error = _ERRORS.get(failure.code().name, ServerError)
    return error(_explain(error, failure.details() or failure.code().name, address, timeout_s))


def _explain(error: type[StrataError], details: str, address: str, timeout_s: float) -> str:
    if error is DeadlineExceeded:
        return f"no answer from {address} within {timeout_s:g} s: {details}"
    if error is Unavailable and details.startswith(_NOBODY):
        # The cause stands last, after the addresses that were tried.
        return f"no server answers at {address}: {details.rpartition(': ')[2].rstrip(']')}"
    if error in (Unavailable, Unimplemented, ServerError):
        return f"{address}: {details}"
    return details
