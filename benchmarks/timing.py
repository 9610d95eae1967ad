"""Times that can be compared: taken in turns, in one run, on one core."""

import os
import statistics
import time
from collections.abc import Callable, Mapping

TURN_S = 0.01


def pin_to_one_core() -> None:
    """Keep this process on one of its cores: runs then do not differ by where they were put."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def median_us(candidates: Mapping[str, Callable[[], object]], *, rounds: int = 30) -> dict[str, float]:
    """Return the median time of one call of each candidate, in microseconds.

    The candidates take turns, round by round, so that a slow phase of the machine meets all of them.
    """
    calls = {name: _calls_in_a_turn(call) for name, call in candidates.items()}
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, call in candidates.items():
            times[name].append(_time_us(call, calls[name]))
    return {name: statistics.median(each) for name, each in times.items()}


def _calls_in_a_turn(call: Callable[[], object]) -> int:
    call()  # the first one allocates
    return max(1, int(TURN_S * 1e6 / _time_us(call, 1)))


def _time_us(call: Callable[[], object], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - start) / calls * 1e6
