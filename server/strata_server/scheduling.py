"""How the operating system shares the CPU among the server's own threads."""

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def yielding_threads() -> Iterator[None]:
    """Let threads that are started meanwhile wait for their turn when they wake, in place of taking the CPU at once.

    On a core that is busy, gRPC's own threads otherwise interrupt the run of a network for each single request that
    arrives. Where a core is idle it makes no difference.
    """
    if not hasattr(os, "SCHED_BATCH"):
        yield
        return
    policy = os.sched_getscheduler(0)
    with contextlib.suppress(OSError):  # a sandbox may forbid it
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, policy, os.sched_param(0))
