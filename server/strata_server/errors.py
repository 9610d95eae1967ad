"""What can go wrong, and which status the caller gets for it.

    StrataError
    ├── NotFound            NOT_FOUND            an unknown model, version or layer
    ├── InvalidArgument     INVALID_ARGUMENT     a request that cannot be meant
    ├── OverLimit           RESOURCE_EXHAUSTED   a request over a fixed limit: the same one will never fit
    ├── Overloaded          RESOURCE_EXHAUSTED   a request that finds no room, or no time, behind those that wait
    ├── DeadlinePassed      DEADLINE_EXCEEDED    a request that came too late to be run
    │   └── HungUp          CANCELLED            one whose caller did not wait for that
    ├── Draining            UNAVAILABLE          the server stops, and takes nothing new
    ├── Unimplemented       UNIMPLEMENTED        a part of a protocol that is not served
    ├── PermissionDenied    PERMISSION_DENIED    a call that this server does not allow
    ├── AlreadyExists       ALREADY_EXISTS       a name that is taken
    ├── Unservable          FAILED_PRECONDITION  a version in the model repository that cannot be served
    └── StartError          (never sent)         the server cannot start
        └── ArtifactError                        a version of a model cannot be served

Anything else is a defect of ours: the caller gets one fixed text, the log the traceback.
"""

import difflib
from collections.abc import Iterable, Sequence
from typing import ClassVar

_LONGEST_QUOTE = 80  # what callers send may be megabytes, and a status travels in a header of 8 KB
_NAMES_LISTED = 3
_NAMES_COMPARED = 500


class StrataError(Exception):
    """An error with a message for whoever caused it: what is wrong, what was expected, what was received."""

    status: ClassVar[str] = "INTERNAL"
    """The name of the gRPC status code."""
    reason: str = ""
    """Why the request was rejected, where it was one that may be right: `tallies.REASONS`."""
    about: tuple[str, int] = ("", 0)
    """The model and the version that were asked, where they were found."""


class NotFound(StrataError):
    """No model, version or layer has that name."""

    status = "NOT_FOUND"


class InvalidArgument(StrataError):
    """The request has a wrong shape, type, byte count, picture or combination."""

    status = "INVALID_ARGUMENT"


class OverLimit(StrataError):
    """The request is larger than a fixed limit allows: clients are told never to send it again."""

    status = "RESOURCE_EXHAUSTED"
    reason = "over_limit"


class Overloaded(StrataError):
    """The server has more to do than it can: clients are told when to try again."""

    status = "RESOURCE_EXHAUSTED"

    def __init__(self, message: str, retry_s: float, reason: str = "queue_full") -> None:
        """Take the message, how long the work that waits will take, in seconds, and what there is no room in."""
        super().__init__(message)
        self.retry_s = retry_s
        self.reason = reason


class DeadlinePassed(StrataError):
    """The caller's deadline was over before the request was run."""

    status = "DEADLINE_EXCEEDED"
    reason = "deadline_passed"


class HungUp(DeadlinePassed):
    """The caller hung up before the request was run; nobody reads what is told."""

    status = "CANCELLED"
    reason = ""


class Draining(StrataError):
    """The server is stopping."""

    status = "UNAVAILABLE"
    reason = "draining"


class Unimplemented(StrataError):
    """The protocol has it, this server has not."""

    status = "UNIMPLEMENTED"


class PermissionDenied(StrataError):
    """The server is not set up to allow it; the message says what would."""

    status = "PERMISSION_DENIED"


class AlreadyExists(StrataError):
    """Something has that name already."""

    status = "ALREADY_EXISTS"


class Unservable(StrataError):
    """What the model repository holds cannot be served; what was served before goes on."""

    status = "FAILED_PRECONDITION"

    def __init__(self, message: str, number: int = 0) -> None:
        """Take the message, and the number of the version that it is about, 0 where it is about none alone."""
        super().__init__(message)
        self.number = number


class StartError(StrataError):
    """The server cannot start; the message says what to change."""


class ArtifactError(StartError):
    """A file in the model repository is not an artifact that can be served."""


def quote(name: str) -> str:
    """Return a stranger's name, shortened and escaped, so that it can stand in a message."""
    return repr(name if len(name) <= _LONGEST_QUOTE else name[:_LONGEST_QUOTE] + "…")


def quote_all(names: Sequence[str]) -> str:
    """Return the first of some names, quoted, and a sign that there are more."""
    listed = ", ".join(map(quote, names[:_NAMES_LISTED]))
    return f"{listed}, …" if len(names) > _NAMES_LISTED else listed


def unknown(what: str, name: str, known: Iterable[str]) -> NotFound:
    """Return the error for a name that does not exist, with the nearest ones that do."""
    names = sorted(known)
    # Comparing is slow: of very many names the first ones must do.
    near = difflib.get_close_matches(name[:_LONGEST_QUOTE], names[:_NAMES_COMPARED], _NAMES_LISTED, cutoff=0.5)
    if near:
        hint = f"nearest: {quote_all(near)}"
    else:
        hint = f"there are {len(names)}: {quote_all(names)}" if names else "there are none"
    return NotFound(f"unknown {what} {quote(name)}; {hint}")
