import time
from collections.abc import Callable

from strata_server.errors import DeadlinePassed, HungUp


class Deadline:
    """How long a caller waits for its answer, and whether it still does."""

    __slots__ = ("_end", "_has_hung_up", "_is_waiting")

    def __init__(self, remaining_s: float | None = None, is_waiting: Callable[[], bool] | None = None) -> None:
        """Start the clock.

        Args:
            remaining_s: seconds left; None where the caller set no deadline.
            is_waiting: whether the caller has not hung up; None where `hang_up` tells.
        """
        self._end = None if remaining_s is None else time.monotonic() + remaining_s
        self._is_waiting = is_waiting
        self._has_hung_up = False

    def hang_up(self) -> None:
        """Note that the caller waits no more."""
        self._has_hung_up = True

    @property
    def remaining_s(self) -> float | None:
        """Seconds left, never below 0; None where there is no deadline."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    @property
    def is_over(self) -> bool:
        """Whether nobody waits any more: the deadline has passed, or the caller has hung up."""
        return (self._end is not None and time.monotonic() >= self._end) or self.has_hung_up

    @property
    def has_hung_up(self) -> bool:
        """Whether the caller waits no more, deadline or not."""
        return self._has_hung_up or (self._is_waiting is not None and not self._is_waiting())

    @property
    def refusal(self) -> DeadlinePassed:
        """What tells that a request was not run since nobody waits any more."""
        kind = HungUp if self.has_hung_up else DeadlinePassed
        return kind("the caller no longer waited when the request's turn came; it was not run")

    def within(self, seconds: float) -> "Deadline":
        """Return this deadline, or one in so many seconds if that is sooner."""
        remaining = self.remaining_s
        if remaining is not None and remaining <= seconds:
            return self
        return Deadline(seconds, lambda: not self.has_hung_up)

    def check(self) -> None:
        """Stop work that nobody waits for any more.

        Raises:
            DeadlinePassed: the deadline is over; HungUp if the caller has hung up.
        """
        if self.is_over:
            raise self.refusal
