"""What a request wants computed, once it is found fit."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from strata_server.deadline import Deadline
from strata_server.reductions import Reduction
from strata_server.slicing import Part
from strata_server.tallies import SliceKind
from strata_server.tensors import Array
from strata_server.traces import Trace
from strata_server.version import Version

DEFAULT_PRIORITY = 100
"""Of a request that names none: a lower number runs earlier, a higher one later."""


Outcome: TypeAlias = dict[str, Array] | Exception
"""The values of the exits of a part that has run, or why there are none."""


@dataclass(frozen=True, eq=False, slots=True)
class Plan:
    """The way of all requests that enter with the same shapes and ask for the same."""

    version: Version
    part: Part
    exits: tuple[str, ...]
    """The layers asked, in their order; one that is an entry is answered as it came."""
    figures: Mapping[str, Reduction]
    """Exits of which a run gives only the figures of a reduction."""
    rows: int
    entry_bytes: int
    row_bytes: int
    """What a run holds at a time for each row, about."""
    line: Hashable
    """Requests with the same one may run together: the version, and where rows enter with which shapes."""
    group: Hashable
    """Those of one line with the same one ask for the same."""
    batches: bool
    """Whether each row is computed from the same row of what enters alone."""
    kind: SliceKind
    """As what it is counted."""
    takes_strings: bool = False
    """Whether strings enter: only they themselves tell how many bytes they have, which `entry_bytes` is then of."""
    is_sized: bool = True
    """Whether the size of the answer is known before the run: not where strings leave, or a shape is open."""


@dataclass(eq=False, slots=True)
class Task:
    """One request, ready to run."""

    plan: Plan
    entries: Mapping[str, Array]
    deadline: Deadline
    priority: int = DEFAULT_PRIORITY
    trace: Trace | None = None
    """Of a request that leaves one."""
    queue_ns: int = 0
    """How long it has waited for its turn."""
    input_ns: int = 0
    """What putting rows together took; like the next ones, of all runs with rows of it."""
    infer_ns: int = 0
    output_ns: int = 0

    def order(self, computed: dict[str, Array]) -> dict[str, Array]:
        """Return the values of the exits asked, in their order; those that are entries as they came."""
        exits = self.plan.exits
        if len(computed) == len(exits) == 1:
            return computed  # in whatever order
        return {name: computed[name] if name in computed else self.entries[name] for name in exits}
