"""What this process has at a moment: twice a second it goes where the other processes can read it."""

import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from strata_server.sessions import Held, Sessions
from strata_server.tallies import Gauge, Name, ServerGauge, Tallies
from strata_server.version import Version

_EVERY_S = 0.5
_MEMORY = Path("/proc/self/statm")
_NONE = Held()


@dataclass(frozen=True)
class Gauges:
    """Publishes them from a thread of its own, so that no request waits for that."""

    tallies: Tallies
    sessions: Sessions
    count_calls: Callable[[], int]
    """How many calls are open."""

    def start(self) -> Callable[[], None]:
        """Publish from now on; return what ends it."""
        stopped = threading.Event()

        def go_on() -> None:
            while not stopped.wait(_EVERY_S):
                self.publish()

        self.publish()
        threading.Thread(target=go_on, name="gauges", daemon=True).start()
        return stopped.set

    def publish(self) -> None:
        """Note what there is now."""
        held = self._find_held()
        for name, tally in self.tallies.admitted.items():
            mine = held.get(name, _NONE)
            tally.gauge(Gauge.SERVED, 1)
            tally.gauge(Gauge.REQUESTS, tally.requests)
            tally.gauge(Gauge.ROWS, tally.rows)
            tally.gauge(Gauge.BYTES, tally.nbytes)
            tally.gauge(Gauge.PINNED_SESSIONS, mine.pinned)
            tally.gauge(Gauge.PINNED_BYTES, mine.pinned_bytes)
            tally.gauge(Gauge.KEPT_SESSIONS, mine.kept)
            tally.gauge(Gauge.KEPT_BYTES, mine.kept_bytes)
        self.tallies.gauge(ServerGauge.OPEN_CALLS, self.count_calls())
        self.tallies.gauge(ServerGauge.RESIDENT_BYTES, _read_memory())
        self.tallies.beat()

    def _find_held(self) -> Mapping[Name, Held]:
        found: dict[Name, Held] = {}
        for maker, held in self.sessions.count().items():
            if isinstance(maker, Version):
                name = (maker.model, maker.number)
                found[name] = found.get(name, _NONE) + held
        return found


def _read_memory() -> int:
    """Return how many bytes of memory this process takes; 0 where the system does not tell."""
    with suppress(OSError):
        return int(_MEMORY.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0
