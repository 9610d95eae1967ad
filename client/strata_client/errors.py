"""What can go wrong between a caller and a server.

StrataError
├── InvalidArgument     a wrong shape, type, picture or name; the text says what was expected and received
├── NotFound            no such model, version or layer; the text holds the nearest names
├── ResourceExhausted   over a limit, or the server's queue is full
├── DeadlineExceeded    no answer in time
├── Unavailable         no server answers, or it drains
├── Unauthenticated     the server wants credentials
├── PermissionDenied    the credentials, or the server, do not allow it
├── FailedPrecondition  a version in the model repository cannot be served, or an artifact not be opened
├── Unimplemented       what answers does not speak strata.v1, or an older form of it
├── Cancelled           the client was closed before the answer came, or belongs to another event loop
├── ServerError         the server failed, or its answer is not one
└── MissingExtra        an extra of this distribution is not installed; no server was asked

A value of the wrong Python type is a TypeError, and a file that cannot be read an OSError, as everywhere.
"""

from typing import Any, ClassVar


class StrataError(Exception):
    """The root: a request that got no answer; `str(error)` is one line that says why."""

    code: ClassVar[str] = "UNKNOWN"
    """The name of the gRPC status code."""
    retry_after_s: float | None = None
    """When the server says to ask again; None where it says nothing, or never."""


class InvalidArgument(StrataError):
    """What was sent is wrong, and would be wrong again."""

    code = "INVALID_ARGUMENT"


class NotFound(StrataError):
    """The server has no such model, version or layer."""

    code = "NOT_FOUND"


class ResourceExhausted(StrataError):
    """The request is over a limit, or the server has too much to do."""

    code = "RESOURCE_EXHAUSTED"


class DeadlineExceeded(StrataError):
    """No answer came in time."""

    code = "DEADLINE_EXCEEDED"


class Unavailable(StrataError):
    """No server answers at the address, or it takes no more requests."""

    code = "UNAVAILABLE"
    is_unreached: bool = False
    """Whether no server has ever answered the client that asked: its address may be a wrong one."""


class Unauthenticated(StrataError):
    """The server wants to know who asks."""

    code = "UNAUTHENTICATED"


class PermissionDenied(StrataError):
    """The server knows who asks, and refuses."""

    code = "PERMISSION_DENIED"


class FailedPrecondition(StrataError):
    """What is to be served is not fit for it; what was served before goes on."""

    code = "FAILED_PRECONDITION"


class Unimplemented(StrataError):
    """The server does not know the method."""

    code = "UNIMPLEMENTED"


class Cancelled(StrataError):
    """The client was closed, or is used from another event loop than its own."""

    code = "CANCELLED"


class ServerError(StrataError):
    """The server failed, or answered what cannot be read."""

    code = "INTERNAL"


class MissingExtra(StrataError):
    """The package that a feature needs is not installed."""

    code = "FAILED_PRECONDITION"

    def __init__(self, extra: str, package: str) -> None:
        """Take the extra, empty where the package itself is what to install, and the package."""
        self.extra, self.package = extra, package
        what = f"'strata-client[{extra}]'" if extra else package
        super().__init__(f"{package} is not installed: pip install {what}")

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what makes it in another process: an exception is made of its text otherwise."""
        return type(self), (self.extra, self.package)
