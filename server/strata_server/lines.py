"""What waits to run, in which order, and which rows run together."""

import heapq
import itertools
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnxruntime

from strata_server.plans import Outcome, Task
from strata_server.reductions import Reduction
from strata_server.slicing import Part
from strata_server.tensors import Array
from strata_server.timings import Timing
from strata_server.version import Version

# A batch is cut where it would hold more than this: page faults would take what batching gives.
_BATCH_BYTES = 256 * 2**20

_numbers = itertools.count()


@dataclass(eq=False, slots=True)
class Entry:
    """A task in a queue."""

    task: Task
    tell: Callable[[Outcome], None]
    """Takes the outcome, once."""
    predicted_s: float
    number: int = field(default_factory=lambda: next(_numbers))
    """By which those of one priority run in the order they came."""
    came: float = field(default_factory=time.monotonic)
    done: int = 0
    """Rows that have run, of a task that is larger than a tile."""
    values: dict[str, Array] = field(default_factory=dict)
    """Of those rows."""
    is_settled: bool = False
    """Whether it has its outcome."""

    def collect(self, share: "Share", values: dict[str, Array]) -> dict[str, Array] | None:
        """Take the values of some rows, and return those of all once they are there."""
        if share.is_whole:
            return values
        for name, value in values.items():
            if name not in self.values:
                self.values[name] = np.empty((self.task.plan.rows, *value.shape[1:]), value.dtype)
            self.values[name][share.start : share.stop] = value
        return None if self.left or share.stop < self.task.plan.rows else self.values

    def __lt__(self, other: "Entry") -> bool:
        mine, others = self.task.priority, other.task.priority
        return self.number < other.number if mine == others else mine < others

    @property
    def left(self) -> int:
        """Rows that have not run."""
        return self.task.plan.rows - self.done


@dataclass(frozen=True, slots=True)
class Share:
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

    line: "Line"
    group: "Group"
    session: onnxruntime.InferenceSession | None
    shares: list[Share]
    over: list[Entry]
    """Whom nobody waits for any more: they are not run."""

    @property
    def rows(self) -> int:
        """Of all shares."""
        return sum(share.stop - share.start for share in self.shares)


@dataclass(eq=False)
class Group:
    """Entries of one line that ask for the same part."""

    version: Version
    part: Part
    figures: Mapping[str, Reduction]
    batches: bool
    row_bytes: int
    timing: Timing
    waiting: list[Entry] = field(default_factory=list)
    """A heap."""
    rows: int = 0
    """Of those that wait."""
    session: onnxruntime.InferenceSession | None = None
    """Just made for those that wait, and kept here only until they run."""
    is_making: bool = False

    def push(self, entry: Entry) -> None:
        """Let an entry wait."""
        heapq.heappush(self.waiting, entry)
        self.rows += entry.left

    def pop(self) -> Entry:
        """Return the first, which waits no more."""
        entry = heapq.heappop(self.waiting)
        self.rows -= entry.left
        return entry

    def find_session(self) -> onnxruntime.InferenceSession | None:
        """Return the session if it is there."""
        return self.session or self.version.peek(self.part)

    def tile(self, given: int) -> int:
        """Return how many rows run at a time, at most: a number that was given, or the fastest."""
        return max(1, min(given or self.version.tile_rows, _BATCH_BYTES // max(1, self.row_bytes)))

    def predict(self, tile: int) -> float:
        """Return how long the next batch takes, in seconds."""
        return self.timing.predict(min(self.rows, tile) if self.batches else self.waiting[0].left)

    def predict_share(self, rows: int, tile: int) -> float:
        """Return by how much longer those who come later wait for so many rows, in full tiles, in seconds."""
        return self.timing.predict(rows) if not self.batches else self.timing.predict(tile) / tile * rows

    def take(self, room: int, tile: int, over: list[Entry]) -> Iterator[Share]:
        """Return the next rows, as many as there is room for.

        An entry is divided only where it is larger than a tile; what is left of it goes behind those that wait.

        Args:
            room: how many rows.
            tile: the largest batch.
            over: gets those whom nobody waits for any more.
        """
        while self.waiting and room:
            first = self.waiting[0]
            if first.is_settled or first.task.deadline.is_over:
                over.append(self.pop())
                continue
            rows = first.left
            if not self.batches:
                room = 0  # it runs alone, and whole
            elif rows <= room:
                room -= rows
            elif first.task.plan.rows > tile:
                rows, room = room, 0
            else:
                return
            self.pop()
            start = first.done
            first.done += rows
            if first.left:
                first.number = next(_numbers)
                self.push(first)
            yield Share(first, start, first.done)

    def empty(self) -> list[Entry]:
        """Return all, which wait no more."""
        waiting, self.waiting, self.rows = self.waiting, [], 0
        return waiting


@dataclass(eq=False)
class Line:
    """What enters at the same place in the same shape; one batch of it runs at a time."""

    groups: dict[Hashable, Group] = field(default_factory=dict)
    has_turn: bool = False
    """Whether it runs, or is about to."""
    entries: int = 0
    """How many wait or run."""
    backlog_s: dict[int, float] = field(default_factory=dict)
    """By priority: how long what waits and what runs will take."""

    @property
    def waiting(self) -> list[Group]:
        """The groups in which something waits, the most urgent first."""
        waiting = [group for group in self.groups.values() if group.waiting]
        return waiting if len(waiting) < 2 else sorted(waiting, key=lambda group: group.waiting[0])

    @property
    def is_busy(self) -> bool:
        """Whether something of it waits or runs."""
        return self.has_turn or self.entries > 0 or any(group.is_making for group in self.groups.values())

    def ahead_s(self, priority: int) -> float:
        """Return how long that takes which runs before a new entry of a priority, in seconds."""
        return sum(seconds for level, seconds in self.backlog_s.items() if level <= priority)
