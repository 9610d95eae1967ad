"""What is counted, in memory that all worker processes share: each writes its own block, and any reads all of them.

A block outlives the process that writes it: what a killed worker has counted stays, and the worker that takes its
place goes on adding. Nothing is locked between processes, for no number has two writers.
"""

import logging
import mmap
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator
from enum import IntEnum
from itertools import count
from struct import Struct

import numpy as np
import numpy.typing as npt

from strata_server.memory_files import make_memory_file

BOUNDS_NS = tuple(
    round(seconds * 1e9)
    for seconds in (1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
)
"""Upper bounds of the buckets of all durations; one more bucket has what is longer."""
STATUSES = (
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
"""What a request may fail with."""
REASONS = ("queue_full", "deadline", "deadline_passed", "over_limit", "draining", "too_many_calls", "unread_bytes")
"""Why a request may be rejected."""
OVERFLOW = "_other"
"""Stands for all versions that there is no row for; no model has such a name."""

Numbers = npt.NDArray[np.int64]
Name = tuple[str, int]
"""A model's name and the number of a version; an empty name and 0 where a request named none that is served."""

_UNKNOWN: Name = ("", 0)
_NAME_BYTES = 128  # as long as the name of a model may be
_LIVING_NS = 5_000_000_000  # gauges of a process that has been silent for longer are none
_NUMBER_BYTES = 8

log = logging.getLogger(__name__)


class SliceKind(IntEnum):
    """What a request asks for."""

    PREDICTION = 0
    """The default exits, from the inputs."""
    ACTIVATION = 1
    """Other exits, from the inputs."""
    REENTRY = 2
    """Any exits, from a layer."""


class Gauge(IntEnum):
    """What a process has of a version now."""

    SERVED = 0
    REQUESTS = 1
    ROWS = 2
    BYTES = 3
    PINNED_SESSIONS = 4
    PINNED_BYTES = 5
    KEPT_SESSIONS = 6
    KEPT_BYTES = 7


class ServerGauge(IntEnum):
    """What a process has now."""

    OPEN_CALLS = 0
    RESIDENT_BYTES = 1


class Columns:
    """Where the numbers of a version are in its row."""

    GENERATION = 0
    """Odd while the row is in use."""
    VERSION = 1
    NAME = 2
    FAILED_NS = NAME + _NAME_BYTES // _NUMBER_BYTES
    FAILURES = FAILED_NS + 1
    GAUGES = FAILURES + len(STATUSES)
    KINDS = GAUGES + len(Gauge)
    """For each kind of slice `KIND` numbers."""

    TOOK = 0
    """How many requests took how long: one number for each bucket, as for the next two."""
    QUEUED = TOOK + len(BOUNDS_NS) + 1
    COMPUTED = QUEUED + len(BOUNDS_NS) + 1
    SUMS = COMPUTED + len(BOUNDS_NS) + 1
    """Of all requests: rows, and nanoseconds from arrival to answer, of waiting, and before, in and behind runs."""
    LAST_NS = SUMS + 6
    """When the last one was answered, by the monotonic clock."""
    KIND = LAST_NS + 1

    SIZES = KINDS + len(SliceKind) * KIND
    """For each size of a run that there was `SIZE` numbers: rows, runs, and nanoseconds before, in and behind them."""
    SIZE = 5
    MOST_SIZES = 129
    """The first of them has the runs of all sizes that there is no room for, and their rows together."""
    ROW = SIZES + SIZE * MOST_SIZES


class Head:
    """Where the numbers of a process are in its block, before the rows of the versions."""

    BEAT_NS = 0
    GAUGES = 1
    REJECTIONS = GAUGES + len(ServerGauge)
    SIZE = 64


class Tally:
    """Counts what happens to one version; safe to use from any thread."""

    def __init__(self, lock: threading.Lock, numbers: "memoryview[int]", place: int) -> None:
        """Take the row at a place in a block."""
        self.requests = self.rows = self.nbytes = 0
        """Of requests that wait or run now."""
        self._lock = lock
        self._numbers = numbers
        self._bytes = numbers.cast("B")
        self._place = place
        self._sizes: dict[int, int] = {}
        """By the rows of a run: where it is counted."""

    def move(self, place: int) -> None:
        """Go on counting in another row; whoever calls it holds the lock."""
        self._place = place
        self._sizes = {}

    def enter(self, rows: int, nbytes: int) -> None:
        """Count a request that begins to wait; whoever calls it holds a lock of its own."""
        self.requests += 1
        self.rows += rows
        self.nbytes += nbytes

    def leave(self, rows: int, nbytes: int) -> None:
        """Count a request no more that waits or runs; as above."""
        self.requests -= 1
        self.rows -= rows
        self.nbytes -= nbytes

    def succeed(
        self,
        kind: SliceKind,
        rows: int,
        came_ns: int,
        end_ns: int,
        queue_ns: int,
        input_ns: int,
        infer_ns: int,
        output_ns: int,
    ) -> None:
        """Count a request that was answered.

        Args:
            kind: what it asked for.
            rows: of its inputs.
            came_ns: when it came, by the monotonic clock.
            end_ns: when the bytes of its answer were there.
            queue_ns: of the time between, its wait for its turn.
            input_ns: what putting rows together took; like the next ones, of all runs that had rows of it.
            infer_ns: what the runs took.
            output_ns: what making its answer of them took.
        """
        took_ns, numbers = end_ns - came_ns, self._numbers
        with self._lock:
            place = self._place + _KIND_PLACES[kind]
            numbers[place + bisect_left(BOUNDS_NS, took_ns)] += 1
            numbers[place + _QUEUED + bisect_left(BOUNDS_NS, queue_ns)] += 1
            numbers[place + _COMPUTED + bisect_left(BOUNDS_NS, input_ns + infer_ns + output_ns)] += 1
            # All sums at once take half as long as one by one.
            sums = _NUMBER_BYTES * (place + _SUMS)
            rows_sum, took_sum, queue_sum, input_sum, infer_sum, output_sum = _unpack_sums(self._bytes, sums)
            _pack_sums(
                self._bytes,
                sums,
                rows_sum + rows,
                took_sum + took_ns,
                queue_sum + queue_ns,
                input_sum + input_ns,
                infer_sum + infer_ns,
                output_sum + output_ns,
                end_ns,
            )

    def fail(self, status: str, took_ns: int) -> None:
        """Count a request that was answered with an error."""
        with self._lock:
            self._numbers[self._place + Columns.FAILURES + _STATUS_PLACES[status]] += 1
            self._numbers[self._place + Columns.FAILED_NS] += took_ns

    def run(self, rows: int, input_ns: int, infer_ns: int, output_ns: int) -> None:
        """Count a run of so many rows, and how long what was before, in and behind it took."""
        numbers = self._numbers
        with self._lock:
            place = self._sizes.get(rows) or self._find_size(rows)
            numbers[place + 1] += 1
            numbers[place + 2] += input_ns
            numbers[place + 3] += infer_ns
            numbers[place + 4] += output_ns

    def gauge(self, gauge: Gauge, value: int) -> None:
        """Note what there is of something now."""
        with self._lock:
            self._numbers[self._place + Columns.GAUGES + gauge] = value

    def _find_size(self, rows: int) -> int:
        other, end = self._place + Columns.SIZES, self._place + Columns.ROW
        for place in range(other + Columns.SIZE, end, Columns.SIZE):
            if self._numbers[place] in {0, rows}:  # others may count in the same row
                self._numbers[place] = rows
                self._sizes[rows] = place
                return place
        self._numbers[other] += rows
        return other


# What each request needs is looked up once.
_KIND_PLACES = [Columns.KINDS + kind * Columns.KIND for kind in SliceKind]
_QUEUED, _COMPUTED, _SUMS = Columns.QUEUED, Columns.COMPUTED, Columns.SUMS
_unpack_sums, _pack_sums = Struct("=6q").unpack_from, Struct("=7q").pack_into
_STATUS_PLACES = {status: place for place, status in enumerate(STATUSES)}
_REASON_PLACES = {reason: place for place, reason in enumerate(REASONS)}


class Tallies:
    """The tallies of all versions that this process serves, and what all processes have counted.

    A version is counted from when it is admitted until it is retired; what names no such version is counted together.
    """

    def __init__(self, file: int = -1, index: int = 0, workers: int = 1, most_versions: int = 1024) -> None:
        """Take a block, and go on with what it holds.

        Args:
            file: what `make_tallies_file` has made for the workers; -1 for a process that serves alone.
            index: of this process among the workers.
            workers: how many there are.
            most_versions: rows of a block; versions beyond are counted together. The same in all processes.
        """
        self._workers = workers
        self._rows = most_versions + 2
        self._all = memoryview(mmap.mmap(file, _size(workers, most_versions))).cast("q")
        self._lock = threading.Lock()
        block = _block_size(most_versions)
        self._own = self._all[index * block : (index + 1) * block]
        self._places: dict[Name, int] = {
            name: place for place in map(_place, range(self._rows)) if (name := _read_name(self._own, place))
        }
        self._admitted: dict[Name, int] = {}
        self._has_overflown = False
        self._fill(_UNKNOWN, _place(0))
        self._fill((OVERFLOW, 0), _place(1))
        self.unknown = Tally(self._lock, self._own, _place(0))
        """Of requests that name no version that is served."""
        self._other = Tally(self._lock, self._own, _place(1))
        self._tallies: dict[Name, Tally] = {}

    def admit(self, model: str, number: int) -> None:
        """Count a version from now on; one that is admitted twice has to be retired twice."""
        name = (model, number)
        with self._lock:
            self._admitted[name] = self._admitted.get(name, 0) + 1
            if name in self._tallies:
                return
            place = self._find_place(name)
            self._tallies[name] = Tally(self._lock, self._own, place) if place else self._other

    def retire(self, model: str, number: int) -> None:
        """Forget a version that is no longer served, and what this process has counted of it."""
        name = (model, number)
        with self._lock:
            self._admitted[name] -= 1
            if self._admitted[name]:
                return
            del self._admitted[name]
            tally = self._tallies.pop(name)
            if tally is not self._other:
                tally.move(_place(0))  # whoever is late counts where no version is known
            self._forget(name)

    def sweep(self) -> None:
        """Forget what the process that had this place before has counted of versions that are not served any more."""
        with self._lock:
            for name in [name for name in self._places if name not in self._admitted]:
                self._forget(name)

    def find(self, model: str, number: int) -> Tally:
        """Return the tally of a version; the one of the unknown if it is not admitted."""
        return self._tallies.get((model, number)) or self.unknown

    @property
    def admitted(self) -> dict[Name, Tally]:
        """The tallies of all versions that are counted."""
        return self._tallies.copy()

    def reject(self, reason: str) -> None:
        """Count a request that was rejected."""
        with self._lock:
            self._own[Head.REJECTIONS + _REASON_PLACES[reason]] += 1

    def gauge(self, gauge: ServerGauge, value: int) -> None:
        """Note what this process has of something now."""
        self._own[Head.GAUGES + gauge] = value

    def beat(self) -> None:
        """Note that the gauges of this process are right."""
        self._own[Head.BEAT_NS] = time.monotonic_ns()  # one clock for all processes

    def read_heads(self) -> Iterator[tuple[Numbers, bool]]:
        """Return the head of each block, and whether its process lives."""
        for block in self._blocks():
            head = _copy(block, 0, Head.SIZE)
            yield head, time.monotonic_ns() - int(head[Head.BEAT_NS]) < _LIVING_NS

    def read_rows(self) -> Iterator[tuple[Name, Numbers, bool]]:
        """Return each row of each block: of which version it is, a copy, and whether its process lives."""
        for block, (_, lives) in zip(self._blocks(), self.read_heads(), strict=True):
            for place in map(_place, range(self._rows)):
                row = _read_row(block, place)
                if row is not None:
                    yield (_decode(row), int(row[Columns.VERSION])), row, lives

    def _blocks(self) -> Iterator["memoryview[int]"]:
        size = len(self._all) // self._workers
        for start in range(0, len(self._all), size):
            yield self._all[start : start + size]

    def _find_place(self, name: Name) -> int:
        """Return where the row of a version begins; 0 if there is none for it."""
        place = self._places.get(name)
        if place is not None:
            return place
        taken = set(self._places.values())
        place = next(place for place in map(_place, count(2)) if place not in taken)
        if place >= _place(self._rows):
            if not self._has_overflown:
                self._has_overflown = True
                log.error("more than %d versions: those beyond are counted together", self._rows - 2)
            return 0
        self._places[name] = place
        self._fill(name, place)
        return place

    def _fill(self, name: Name, place: int) -> None:
        """Let a row begin, unless it is that of the same version."""
        if self._own[place + Columns.GENERATION] % 2:
            return
        encoded = name[0].encode().ljust(_NAME_BYTES, b"\0")
        row = np.zeros(Columns.ROW, np.int64)
        row[Columns.GENERATION] = self._own[place + Columns.GENERATION]
        row[Columns.VERSION] = name[1]
        row[Columns.NAME : Columns.FAILED_NS] = np.frombuffer(encoded, np.int64)
        self._own[place : place + Columns.ROW] = memoryview(row.tobytes()).cast("q")
        self._own[place + Columns.GENERATION] += 1

    def _forget(self, name: Name) -> None:
        place = self._places.get(name, 0)
        if place >= _place(2):
            del self._places[name]
            self._own[place + Columns.GENERATION] += 1


def make_tallies_file(workers: int, most_versions: int = 1024) -> int:
    """Return a file of blocks, one for each worker, which child processes may inherit."""
    return make_memory_file("tallies", _size(workers, most_versions))


def _size(workers: int, most_versions: int) -> int:
    return _NUMBER_BYTES * workers * _block_size(most_versions)


def _block_size(most_versions: int) -> int:
    return _place(most_versions + 2)


def _place(row: int) -> int:
    """Return where in a block a row begins: the first is of the unknown, the second of those there is no row for."""
    return Head.SIZE + row * Columns.ROW


def _copy(block: "memoryview[int]", start: int, size: int) -> Numbers:
    return np.frombuffer(bytes(block[start : start + size]), np.int64)


def _read_row(block: "memoryview[int]", place: int) -> Numbers | None:
    """Return a copy of a row in use; None for one that is not, or that just begins or ends."""
    generation = block[place + Columns.GENERATION]
    if generation % 2 == 0:
        return None
    row = _copy(block, place, Columns.ROW)
    return row if block[place + Columns.GENERATION] == generation else None


def _read_name(block: "memoryview[int]", place: int) -> Name | None:
    row = _read_row(block, place)
    return None if row is None else (_decode(row), int(row[Columns.VERSION]))


def _decode(row: Numbers) -> str:
    return row[Columns.NAME : Columns.FAILED_NS].tobytes().rstrip(b"\0").decode()
