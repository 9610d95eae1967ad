"""Waits for servers that are away, restarted, replaced or have too much to do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from strata_client.batch.errors import JobFailed
from strata_client.errors import (
    Cancelled,
    DeadlineExceeded,
    NotFound,
    ResourceExhausted,
    ServerError,
    StrataError,
    Unavailable,
)

_T = TypeVar("_T")

_FIRST_WAIT_S = 0.2
_LONGEST_WAIT_S = 5.0
# What passes: a server that is replaced may lack the model for a while, and one that stops may cut answers short.
_PASSING = (Unavailable, DeadlineExceeded, NotFound, ResourceExhausted, Cancelled, ServerError)
_MOST_FAILURES = 1  # after so many of one call it is taken to be what was sent that makes a server fail


class Patience:
    """Goes on asking until nothing at all has been answered for some time; threads share it.

    Args:
        seconds: how long that is.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._answered = time.monotonic()
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Let nobody wait any more."""
        self._stopped.set()

    def insist(self, call: Callable[[], _T], *, once: tuple[type[StrataError], ...] = ()) -> _T:
        """Return the answer of a call, made again as long as nobody answers, or all are busy.

        Args:
            call: raises a StrataError.
            once: what is raised at once, though it may pass.

        Raises:
            JobFailed: the patience is at its end.
            StrataError: what would be the same again.
        """
        began, tries = time.monotonic(), 0
        while True:
            try:
                answer = call()
            except _PASSING as error:
                if isinstance(error, once) or _is_final(error, tries):
                    raise
                self._wait(error, began, tries)
                tries += 1
            else:
                self._answered = time.monotonic()
                return answer

    def _wait(self, error: StrataError, began: float, tries: int) -> None:
        silent_s = time.monotonic() - max(self._answered, began)
        if silent_s > self._seconds:
            raise JobFailed(f"no answer for {silent_s:.0f} s: {error}") from error
        wait_s = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** min(tries, 10))
        if self._stopped.wait(max(wait_s, error.retry_after_s or 0)):
            raise JobFailed("stopped") from error


def _is_final(error: StrataError, tries: int) -> bool:
    """Say whether it would be the same again: a request over a fixed limit, or one that a server fails over."""
    if isinstance(error, ServerError):
        return tries >= _MOST_FAILURES
    # Who has too much to do says when to come again.
    return isinstance(error, ResourceExhausted) and error.retry_after_s is None
