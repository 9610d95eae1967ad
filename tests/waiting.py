"""Conditions with a bound, in place of sleeps."""

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], bool], bound_s: float = 20) -> None:
    end = time.monotonic() + bound_s
    while not condition():
        assert time.monotonic() < end, f"not within {bound_s} s"
        time.sleep(0.01)
