"""How a command ends: its exit code, and what it says of an error, to people or to machines."""

import json
import re
from enum import IntEnum
from typing import Any

import click

from strata_client.errors import DeadlineExceeded, ResourceExhausted, StrataError, Unavailable
from strata_client.names import escape


class ExitCode(IntEnum):
    """What scripts may rely on; `MEANINGS` says what each stands for."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    PARTLY = 3
    RETRY = 4
    INTERRUPTED = 130
    UNREAD = 141


MEANINGS = {
    ExitCode.DONE: "Done.",
    ExitCode.FAILED: "Refused or failed, and would fail again; not serving; versions that differ.",
    ExitCode.USAGE: "Wrong usage.",
    ExitCode.PARTLY: "Some failed: files or rows without an answer, layers that could not be compared.",
    ExitCode.RETRY: "Nobody answered in time, or the server is busy: worth trying again.",
    ExitCode.INTERRUPTED: "Interrupted by Ctrl-C.",
    ExitCode.UNREAD: "What read the output, such as head, wanted no more.",
}

# In gRPC's words: a server is not who it should be, or does not encrypt. What the server itself refuses, such as a
# caller that does not encrypt, is a closed connection here, as it is where a server stops.
_NEVER = re.compile(
    "no server answers at .*: "
    "(CERTIFICATE_VERIFY_FAILED: .*|WRONG_VERSION_NUMBER: .*|Hostname Verification Check failed.*)"
)

JSON_KEY = "strata_client.json"
"""Where a context's `meta` says that the caller is a machine."""


def tell(error: Exception, context: click.Context) -> ExitCode:
    """Say on standard error, in one line, why there is no answer; return the exit code.

    The line is text for people, and with --json `{"error": {"code": ..., "message": ...}}`.
    """
    machine = context.meta.get(JSON_KEY, False)
    click.echo(json.dumps(describe(error)) if machine else f"strata: {explain(error)}", err=True)
    return judge(error)


def describe(error: Exception) -> dict[str, Any]:
    """Return an error in the one shape that all JSON documents have for it."""
    return {"error": {"code": name(error), "message": explain(error)}}


def explain(error: Exception) -> str:
    """Return one line that says what went wrong."""
    if isinstance(error, click.ClickException):
        return escape(error.format_message())
    if isinstance(error, OSError) and error.strerror:
        named = f"{error.filename}: " if error.filename is not None else ""
        return escape(f"{named}{error.strerror}")
    return escape(str(error))


def name(error: Exception) -> str:
    """Return the code of an error: the gRPC status, `UNREADABLE` of a file, `USAGE` of wrong usage."""
    if isinstance(error, click.UsageError):
        return "USAGE"
    return error.code if isinstance(error, StrataError) else "UNREADABLE"


def judge(error: Exception) -> ExitCode:
    """Return the exit code of an error that left nothing to show."""
    if isinstance(error, click.UsageError):
        return ExitCode.USAGE
    return ExitCode.RETRY if may_pass(error) else ExitCode.FAILED


def may_pass(error: Exception) -> bool:
    """Say whether the same request may be answered later."""
    if isinstance(error, ResourceExhausted):
        return error.retry_after_s is not None
    return isinstance(error, DeadlineExceeded) or (isinstance(error, Unavailable) and not is_mismatch(str(error)))


def is_mismatch(text: str) -> bool:
    """Say whether the reason why nobody answers is one that lasts: certificates or a name that do not fit."""
    return _NEVER.fullmatch(text) is not None
