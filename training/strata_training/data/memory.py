"""How much memory a data set may take."""

import os

from strata_training.errors import TrainingError

_SHARE = 0.5
"""Of the machine's memory; the rest is for the network, and for the rows on their way into it."""


def require_memory(needed_bytes: int, what: str) -> None:
    """Refuse an array before it is made.

    Raises:
        TrainingError: it needs more than half of the machine's memory.
    """
    bound_bytes = int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * _SHARE)
    if needed_bytes > bound_bytes:
        raise TrainingError(
            f"{what} need {_gibibytes(needed_bytes)} of memory: expected at most {_gibibytes(bound_bytes)}, half of "
            "what this machine has; give a smaller --image-size, or fewer classes"
        )


def _gibibytes(count: int) -> str:
    return f"{count / 2**30:,.1f} GiB"
