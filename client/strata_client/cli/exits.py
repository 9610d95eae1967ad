"""How a command ends: its exit code, and what it says of an error, to people or to machines."""

import json
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
    ExitCode.PARTLY: "Some failed: files without an answer, layers that could not be compared.",
    ExitCode.RETRY: "Nobody answered in time, or the server is busy: worth trying again.",
    ExitCode.INTERRUPTED: "Interrupted by Ctrl-C.",
    ExitCode.UNREAD: "What read the output, such as head, wanted no more.",
}

JSON_KEY = "strata_client.json"
"""Where a context's `meta` says that the caller is a machine."""


class Refusal(click.ClickException):
    """What a caller is told when there is no answer: one line on standard error.

    It is text for people, and with --json `{"error": {"code": ..., "message": ...}}`.
    """

    def __init__(self, code: str, message: str, exit_code: ExitCode, *, as_json: bool) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self._code = code
        self._as_json = as_json

    def show(self, file: Any = None) -> None:
        """Print the line."""
        line = json.dumps(document(self._code, self.message)) if self._as_json else f"strata: {self.message}"
        click.echo(line, err=True, file=file)


def refuse(error: Exception, context: click.Context) -> Refusal:
    """Return what an error of the library, of a file or of the usage means to the caller."""
    if isinstance(error, click.UsageError):
        return Refusal(name(error), error.format_message(), ExitCode.USAGE, as_json=True)
    return Refusal(name(error), explain(error), judge(error), as_json=bool(context.meta.get(JSON_KEY)))


def explain(error: Exception) -> str:
    """Return one line that says what went wrong."""
    if isinstance(error, OSError) and error.filename is not None:
        return escape(f"{error.filename}: {error.strerror}")
    return escape(str(error))


def describe(error: Exception) -> dict[str, Any]:
    """Return an error as every JSON document has it."""
    return document(name(error), explain(error))


def document(code: str, message: str) -> dict[str, Any]:
    """Return the one shape of errors in JSON."""
    return {"error": {"code": code, "message": message}}


def name(error: Exception) -> str:
    """Return the code of an error: the gRPC status, `UNREADABLE` of a file, `USAGE` of wrong usage."""
    if isinstance(error, click.UsageError):
        return "USAGE"
    return error.code if isinstance(error, StrataError) else "UNREADABLE"


def judge(error: Exception) -> ExitCode:
    """Return the exit code of an error that left nothing to show."""
    return ExitCode.RETRY if may_pass(error) else ExitCode.FAILED


def may_pass(error: Exception) -> bool:
    """Say whether the same request may be answered later."""
    if isinstance(error, ResourceExhausted):
        return getattr(error, "retry_after_s", None) is not None
    return isinstance(error, Unavailable | DeadlineExceeded)
