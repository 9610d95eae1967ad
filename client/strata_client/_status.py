"""What gRPC says of a call that failed, in the words of `errors`: no caller sees a type of gRPC."""

import re
from collections.abc import Iterable
from typing import Protocol, cast

import grpc
from strata.v1 import inference_pb2

from strata_client import errors
from strata_client.errors import Cancelled, DeadlineExceeded, ServerError, StrataError, Unavailable, Unimplemented

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
        errors.FailedPrecondition,
        Unimplemented,
        Cancelled,
    )
}

_NAMES: dict[int, str] = {code.value[0]: code.name for code in grpc.StatusCode}

_PUSHBACK = re.compile("[0-9]{1,9}")  # anything else means never, by gRPC's rule for its own retries

# How gRPC itself begins when it reached nobody; anything else is a server's own text.
_NOBODY = ("failed to connect", "connections to all backends failing", "errors resolving", "DNS resolution failed")
# What it says where a call ends at this side, sometimes inside of that its stream was removed: `errors` says it better.
_OF_THIS_SIDE = ("Deadline Exceeded", "Channel closed!", "Locally cancelled by application!")
_REMOVED = re.compile(r"Stream removed \((?P<why>.*)\)", re.DOTALL)
# What the cause follows where encryption failed, and there it has parts of its own.
_OF_TLS = "OPENSSL_internal:"


class _Failure(Protocol):
    """The side of a gRPC error that says why; blocking and asyncio calls have it alike."""

    def code(self) -> grpc.StatusCode: ...
    def details(self) -> str | None: ...
    def trailing_metadata(self) -> Iterable[tuple[str, str | bytes]] | None: ...


def translate(error: Exception, address: str, timeout_s: float) -> StrataError:
    """Return the error of ours for one that gRPC raises; raise it where it is not gRPC's."""
    if isinstance(error, grpc.RpcError):
        failure = cast("_Failure", error)
        ours = name_error(failure.code().name, _read_details(failure), address, timeout_s)
        ours.retry_after_s = _read_pushback(failure.trailing_metadata() or ())
        if isinstance(ours, Unavailable):
            ours.is_unreached = (failure.details() or "").startswith(_NOBODY)
        return ours
    # All that gRPC says of a channel that was closed before the call.
    if "closed" not in str(error):
        raise error
    return Cancelled("the client is closed")


def name_error(code: str, details: str, address: str, timeout_s: float) -> StrataError:
    """Return the error for the name of a status code and its reason, from whoever answers at an address."""
    kind = _ERRORS.get(code, ServerError)
    return kind(_explain(kind, code, details, address, timeout_s))


def read_error(error: inference_pb2.Error) -> StrataError:
    """Return the error that stands in a stream in the place of an answer."""
    ours = _ERRORS.get(_NAMES.get(error.code, ""), ServerError)(error.message)
    # 0 means that nothing is said, but of a server that has too much to do it says at once; below it is never.
    if error.retry_after_ms > 0 or (isinstance(ours, errors.ResourceExhausted) and not error.retry_after_ms):
        ours.retry_after_s = error.retry_after_ms / 1000
    return ours


def _read_pushback(trailers: Iterable[tuple[str, str | bytes]]) -> float | None:
    """Return the seconds after which the server wants to be asked again; None where it does not say, or never."""
    for key, value in trailers:
        if key == "grpc-retry-pushback-ms" and isinstance(value, str) and _PUSHBACK.fullmatch(value):
            return int(value) / 1000
    return None


def _read_details(failure: _Failure) -> str:
    """Return the text of whoever answered; empty where there is none but gRPC's."""
    details = failure.details() or ""
    removed = _REMOVED.fullmatch(details)
    why = removed["why"] if removed else details
    return "" if why in _OF_THIS_SIDE else why


def _explain(error: type[StrataError], code: str, details: str, address: str, timeout_s: float) -> str:
    if error is DeadlineExceeded:
        late = f"no answer from {address} within {timeout_s:.4g} s"
        return f"{late}: {details}" if details else late
    if error is Cancelled and not details:
        return "the client is closed"
    details = details or code
    if error is Unavailable and details.startswith(_NOBODY):
        # The cause stands last, after the addresses that were tried.
        tried = details.removesuffix(": OK").rstrip("]")
        return f"no server answers at {address}: {tried.rpartition(_OF_TLS if _OF_TLS in tried else ': ')[2]}"
    if error in (Unavailable, Unimplemented, ServerError):
        return f"{address}: {details}"
    return details
