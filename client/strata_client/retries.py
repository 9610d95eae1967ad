"""When a call that failed is made again."""

import random
from dataclasses import dataclass

from strata_client.errors import InvalidArgument, ResourceExhausted, StrataError, Unavailable


@dataclass(frozen=True)
class Retries:
    """How often a call is made, and how long the waits between are.

    It is made again where no server answered, or the server had too much to do and said when to come back; never where
    the same would be refused again. All of it happens within the call's own time. Each wait is a random part of one
    that doubles from time to time, after what the server asked for.

    gRPC's own retries are off: they stay on the connection that failed, and are five attempts at most.
    """

    attempts: int = 8
    """The first one included; 1 never repeats. As it stands, a server may take some seconds to start again."""
    attempts_unreached: int = 4
    """The same as long as no server has ever answered the client, and not more than `attempts`: a wrong address is
    told within a second."""
    first_wait_s: float = 0.1
    """The longest wait before the second attempt."""
    longest_wait_s: float = 5.0
    """What the waits grow to, beside what the server asked for."""

    def __post_init__(self) -> None:
        for name in ("attempts", "attempts_unreached"):
            if getattr(self, name) < 1:
                raise InvalidArgument(f"{name}: expected 1 or more; received {getattr(self, name)}")
        if not 0 <= self.first_wait_s <= self.longest_wait_s < float("inf"):
            raise InvalidArgument(
                "first_wait_s, longest_wait_s: expected seconds from 0, the first not above the longest; "
                f"received {self.first_wait_s} and {self.longest_wait_s}"
            )


def choose_wait(retries: Retries, attempt: int, error: StrataError, left_s: float) -> float | None:
    """Return the seconds from a failed attempt to the next one; None where there is none.

    Args:
        retries: the rule.
        attempt: the number of the one that failed, from 1.
        error: how it failed.
        left_s: the time that the call still has.
    """
    is_unreached = isinstance(error, Unavailable) and error.is_unreached
    attempts = min(retries.attempts, retries.attempts_unreached) if is_unreached else retries.attempts
    if attempt >= attempts or not _is_passing(error):
        return None
    # Without the bound on the exponent a float would overflow, and no wait doubles that often.
    doubled_s = min(retries.longest_wait_s, retries.first_wait_s * 2 ** min(attempt - 1, 60))
    wait_s = random.uniform(0, doubled_s) + (error.retry_after_s or 0)  # noqa: S311 - no secret
    return wait_s if wait_s < left_s else None


def _is_passing(error: StrataError) -> bool:
    if isinstance(error, ResourceExhausted):
        return error.retry_after_s is not None
    return isinstance(error, Unavailable)
