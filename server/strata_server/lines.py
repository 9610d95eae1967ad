"""What waits to run, in which order, and which rows run together."""

import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import onnxruntime

from strata_server.plans import Outcome, Plan, Task
from strata_server.reductions import Reduction
from strata_server.slicing import Part
from strata_server.tallies import Tally
from strata_server.tensors import Array
from strata_server.timings import Timing
from strata_server.version import Version

# A batch is cut where it would hold more than this: page faults would take what batching gives.
_BATCH_BYTES = 256 * 2**20
_GROUPS_REMEMBERED = 256


class Entry:
    """A task in a queue."""

    __slots__ = ("came_ns", "done", "group", "is_settled", "line", "predicted_s", "task", "tell", "values")

    def __init__(self, task: Task, tell: Callable[[Outcome], None], line: "Line", group: "Group") -> None:
        """Let a task come; `tell` takes its outcome, once."""
        self.task = task
        self.tell = tell
        self.line = line
        self.group = group
        self.predicted_s = 0.0
        self.came_ns = time.monotonic_ns()
        self.done = 0
        """Rows that have run, of a task that is larger than a tile."""
        self.values: dict[str, Array] = {}
        """Of those rows."""
        self.is_settled = False
        """Whether it has its outcome."""

    def collect(self, share: "Share", values: dict[str, Array]) -> dict[str, Array] | None:
        """Take the values of some rows, and return those of all once they are there."""
        for name, value in values.items():
            if name not in self.values:
                self.values[name] = np.empty((self.task.plan.rows, *value.shape[1:]), value.dtype)
            self.values[name][share.start : share.stop] = value
        return self.values if share.stop == self.task.plan.rows else None


class Share(NamedTuple):
    """Rows of one entry in a batch."""

    entry: Entry
    start: int
    stop: int

    @property
    def is_whole(self) -> bool:
        """Whether they are all that it has."""
        return self.stop - self.start == self.entry.task.plan.rows


@dataclass(frozen=True, slots=True)
class Batch:
    """What runs in one run."""

    group: "Group"
    session: onnxruntime.InferenceSession | None
    shares: list[Share]
    over: list[Entry]
    """Whom nobody waits for any more: they are not run."""

    @property
    def rows(self) -> int:
        """Of all shares."""
        return sum(share.stop - share.start for share in self.shares)


class Group:
    """Entries of one line that ask for the same part."""

    def __init__(self, plan: Plan, part: Part, figures: Mapping[str, Reduction], timing: Timing, tally: Tally) -> None:
        """Hold none yet.

        Args:
            plan: of any of them.
            part: what they ask, or more.
            figures: exits of which a run gives only the figures of a reduction.
            timing: how long it takes.
            tally: of the version.
        """
        self.tally = tally
        self.version = plan.version
        self.part = part
        self.figures = figures
        self.batches = plan.batches
        self.timing = timing
        self.misses = 0
        """How often it was wanted and its session was not there."""
        self.rows = 0
        """Of those that wait."""
        self.session: onnxruntime.InferenceSession | None = None
        """Just made for those that wait, and kept here only until they run."""
        self.is_making = False
        self.plan = plan
        self._waiting: dict[int, deque[Entry]] = {}
        """By priority; none is empty."""

    def push(self, entry: Entry) -> None:
        """Let an entry wait, behind those of its priority."""
        self.rows += entry.task.plan.rows - entry.done
        level = self._waiting.get(entry.task.priority)
        if level is None:
            level = self._waiting[entry.task.priority] = deque()
        level.append(entry)

    @property
    def joins(self) -> bool:
        """Whether it may run with another one: not where its figures are all that leaves the device."""
        return self.batches and not (self.figures and self.version.has_device)

    @property
    def first(self) -> Entry | None:
        """The most urgent of those that wait."""
        if not self._waiting:
            return None
        return self._waiting[min(self._waiting)][0]

    def pop(self) -> Entry:
        """Return the most urgent, which waits no more."""
        priority = min(self._waiting)
        level = self._waiting[priority]
        entry = level.popleft()
        if not level:
            del self._waiting[priority]
        self.rows -= entry.task.plan.rows - entry.done
        return entry

    def empty(self) -> list[Entry]:
        """Return all, which wait no more."""
        waiting = [entry for level in self._waiting.values() for entry in level]
        self._waiting.clear()
        self.rows = 0
        return waiting

    def find_session(self) -> onnxruntime.InferenceSession | None:
        """Return the session if it is there."""
        return self.session or self.version.peek(self.part)

    def tile(self, given: int) -> int:
        """Return how many rows run at a time, at most: a number that was given, or the fastest."""
        return max(1, min(given or self.version.tile_rows, _BATCH_BYTES // max(1, self.plan.row_bytes)))

    def at_best(self, tile: int) -> float:
        """Return how long the next batch takes if nothing disturbs it, in seconds."""
        first = self.first
        if first is None:
            return 0
        return self.timing.at_best(min(self.rows, tile) if self.batches else first.task.plan.rows)

    def predict_share(self, rows: int, tile: int) -> float:
        """Return by how much longer those who come later wait for so many rows, in full tiles, in seconds."""
        return self.timing.predict(tile) / tile * rows if self.batches else self.timing.predict(rows)

    def take(self, room: int, tile: int, over: list[Entry]) -> list[Share]:
        """Return the next rows, as many as there is room for.

        An entry is divided only where it is larger than a tile; what is left of it goes behind those that wait.

        Args:
            room: how many rows.
            tile: the largest batch.
            over: gets those whom nobody waits for any more.
        """
        shares: list[Share] = []
        while room and (first := self.first):
            if first.is_settled or first.task.deadline.is_over:
                over.append(self.pop())
                continue
            whole, start = first.task.plan.rows, first.done
            rows = whole - start
            if not self.batches:
                room = 0  # it runs alone, and whole
            elif rows <= room:
                room -= rows
            elif whole > tile:
                rows, room = room, 0
            else:
                break
            self.pop()
            first.done = start + rows
            if first.done < whole:
                self.push(first)
            shares.append(Share(first, start, start + rows))
        return shares


class Line:
    """What enters at the same place in the same shape; one batch of it runs at a time."""

    def __init__(self, version: Version) -> None:
        """Hold nothing yet of a version."""
        self.version = version
        self.groups: dict[Hashable, Group] = {}
        self.has_turn = False
        """Whether it runs, or is about to."""
        self.entries = 0
        """How many wait or run."""
        self._backlog_s: dict[int, float] = {}
        """By priority: how long what waits and what runs will take."""

    @property
    def waiting(self) -> list[Group]:
        """The groups in which something waits, the most urgent first."""
        waiting = [group for group in self.groups.values() if group.rows]
        return waiting if len(waiting) < 2 else sorted(waiting, key=_urgency)

    @property
    def is_busy(self) -> bool:
        """Whether something of it waits or runs."""
        return self.has_turn or self.entries > 0 or any(group.is_making for group in self.groups.values())

    def add(self, plan: Plan, tally: Tally) -> Group:
        """Return a new group for what a plan asks; those that nobody asks for make room."""
        if len(self.groups) >= _GROUPS_REMEMBERED:
            self.groups = {key: group for key, group in self.groups.items() if group.rows or group.is_making}
        group = self.groups[plan.group] = Group(
            plan, plan.part, plan.figures, Timing(plan.version.guess_row_s(plan.part)), tally
        )
        return group

    def join(self, one: Group, other: Group) -> Group:
        """Return the group of what either of two asks: nothing waits in it, but it can run both."""
        version = one.version
        part = version.find(one.part.slice.entries, one.part.slice.exits | other.part.slice.exits)
        key = (part, frozenset[object]())
        joint = self.groups.get(key)
        if joint is None:
            longer, shorter = (one, other) if one.timing.row_s > other.timing.row_s else (other, one)
            more = version.guess_row_s(part) / version.guess_row_s(longer.part)
            timing = Timing(longer.timing.row_s * more, max(longer.timing.fixed_s, shorter.timing.fixed_s))
            joint = self.groups[key] = Group(longer.plan, part, {}, timing, one.tally)
        return joint

    def ahead_s(self, priority: int) -> float:
        """Return how long that takes which runs before a new entry of a priority, in seconds."""
        if not self.entries:
            return 0
        return sum([seconds for level, seconds in self._backlog_s.items() if level <= priority])

    def enter(self, entry: Entry) -> None:
        """Count an entry."""
        self.entries += 1
        priority = entry.task.priority
        self._backlog_s[priority] = self._backlog_s.get(priority, 0) + entry.predicted_s

    def leave(self, entry: Entry) -> None:
        """Count an entry no more."""
        self.entries -= 1
        self._backlog_s[entry.task.priority] -= entry.predicted_s
        if not self.entries:
            self._backlog_s.clear()  # of what rounding leaves


def _urgency(group: Group) -> tuple[int, int]:
    first = group.first
    return (first.task.priority, first.came_ns) if first else (0, 0)
