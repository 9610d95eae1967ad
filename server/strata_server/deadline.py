import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from strata_server.errors import DeadlinePassed


class Deadline:
    """How long a caller waits for its answer, and whether it still does."""

    def __init__(self, remaining_s: float | None = None, is_waiting: Callable[[], bool] = lambda: True) -> None:
        """Start the clock.

        Args:
            remaining_s: seconds left; None where the caller set no deadline.
            is_waiting: whether the caller has not hung up.
        """
        self._end = None if remaining_s is None else time.monotonic() + remaining_s
        self._is_waiting = is_waiting
        self.waiting: Callable[[], AbstractContextManager[None]] = nullcontext
        """Entered while the call only waits for another: its turn to run is given away for so long."""

    @property
    def remaining_s(self) -> float | None:
        """Seconds left, never below 0; None where there is no deadline."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def check(self) -> None:
        """Stop work that nobody waits for any more.

        Raises:
            DeadlinePassed: the deadline is over, or the caller has hung up.
        """
        if self.remaining_s == 0 or not self._is_waiting():
            raise DeadlinePassed("the caller no longer waited when the request's turn came; it was not run")
