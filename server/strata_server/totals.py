"""What all worker processes have counted, together."""

import time
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from strata_server.tallies import (
    BOUNDS_NS,
    REASONS,
    STATUSES,
    Columns,
    Gauge,
    Head,
    Name,
    Numbers,
    ServerGauge,
    SliceKind,
    Tallies,
)

_BOUNDS_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_LAST_NS = [Columns.KINDS + kind * Columns.KIND + Columns.LAST_NS for kind in SliceKind]


@dataclass(frozen=True)
class Histogram:
    """How often something was how large."""

    bounds: tuple[int, ...]
    """The largest value of each bucket but the last, which has no bound."""
    counts: tuple[int, ...]
    """Of each bucket alone."""
    sum: int
    """Of all values."""

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)


@dataclass(frozen=True)
class RequestTotals:
    """Requests that were answered."""

    took: Histogram
    """From the arrival to the bytes of the answer, in nanoseconds, as all times here."""
    queued: Histogram
    computed: Histogram
    rows: int
    input_ns: int
    infer_ns: int
    output_ns: int


@dataclass(frozen=True)
class RunTotals:
    """Runs of one size."""

    count: int
    input_ns: int
    infer_ns: int
    output_ns: int


@dataclass(frozen=True)
class VersionTotals:
    """One version of a model."""

    model: str
    """Empty for requests that named none that is served; see also `tallies.OVERFLOW`."""
    number: int
    requests: Mapping[SliceKind, RequestTotals]
    failures: Mapping[str, int]
    """By the name of the gRPC status code."""
    failed_ns: int
    runs: Mapping[int, RunTotals]
    """By their rows; 0 for all sizes that there was no room for."""
    run_rows: Histogram
    gauges: Mapping[Gauge, int]
    """Of the processes that live."""
    last_ms: int
    """When the last request was answered, in milliseconds since the epoch; 0 for never."""

    @property
    def successes(self) -> int:
        """How many requests were answered."""
        return sum(each.took.count for each in self.requests.values())

    @property
    def is_empty(self) -> bool:
        """Whether nothing was counted."""
        return not self.run_rows.count and not any(self.failures.values()) and not self.successes

    @property
    def version(self) -> str:
        """The number as it is written; empty where there is none."""
        return str(self.number) if self.number else ""


@dataclass(frozen=True)
class ServerTotals:
    """What belongs to no version."""

    rejections: Mapping[str, int]
    """By their reason."""
    gauges: Mapping[ServerGauge, int]
    """Of the processes that live."""


def sum_versions(tallies: Tallies) -> list[VersionTotals]:
    """Return the totals of all versions, by model and number."""
    names: dict[Name, tuple[Numbers, Numbers, dict[int, Numbers]]] = {}
    for name, row, lives in tallies.read_rows():
        if name not in names:
            names[name] = (np.zeros(Columns.SIZES, np.int64), np.zeros(len(Gauge), np.int64), {})
        counts, gauges, sizes = names[name]
        latest = np.maximum(counts[_LAST_NS], row[_LAST_NS])
        counts += row[: Columns.SIZES]
        counts[_LAST_NS] = latest
        if lives:
            gauges += row[Columns.GAUGES : Columns.KINDS]
        for place, size in enumerate(row[Columns.SIZES :].reshape(-1, Columns.SIZE)):
            if size[1]:
                rows = int(size[0]) if place else 0
                sizes[rows] = sizes.get(rows, np.zeros(Columns.SIZE, np.int64)) + size
    return [_read_version(name, *names[name]) for name in sorted(names)]


def sum_server(tallies: Tallies) -> ServerTotals:
    """Return the totals of what belongs to no version."""
    counts, gauges = np.zeros(Head.SIZE, np.int64), np.zeros(len(ServerGauge), np.int64)
    for head, lives in tallies.read_heads():
        counts += head
        if lives:
            gauges += head[Head.GAUGES : Head.REJECTIONS]
    return ServerTotals(
        rejections=dict(zip(REASONS, _numbers(counts, Head.REJECTIONS, len(REASONS)), strict=True)),
        gauges=dict(zip(ServerGauge, gauges.tolist(), strict=True)),
    )


def _read_version(name: Name, counts: Numbers, gauges: Numbers, sizes: Mapping[int, Numbers]) -> VersionTotals:
    return VersionTotals(
        model=name[0],
        number=name[1],
        requests={kind: _read_requests(counts[Columns.KINDS + kind * Columns.KIND :]) for kind in SliceKind},
        failures=dict(zip(STATUSES, _numbers(counts, Columns.FAILURES, len(STATUSES)), strict=True)),
        failed_ns=int(counts[Columns.FAILED_NS]),
        runs={rows: RunTotals(*_numbers(sizes[rows], 1, 4)) for rows in sorted(sizes)},
        run_rows=_sum_rows(sizes),
        gauges=dict(zip(Gauge, gauges.tolist(), strict=True)),
        last_ms=_read_last(counts),
    )


def _read_requests(numbers: Numbers) -> RequestTotals:
    rows, took_ns, queue_ns, input_ns, infer_ns, output_ns = _numbers(numbers, Columns.SUMS, 6)
    return RequestTotals(
        took=_read_histogram(numbers, Columns.TOOK, BOUNDS_NS, took_ns),
        queued=_read_histogram(numbers, Columns.QUEUED, BOUNDS_NS, queue_ns),
        computed=_read_histogram(numbers, Columns.COMPUTED, BOUNDS_NS, input_ns + infer_ns + output_ns),
        rows=rows,
        input_ns=input_ns,
        infer_ns=infer_ns,
        output_ns=output_ns,
    )


def _read_histogram(numbers: Numbers, start: int, bounds: tuple[int, ...], total: int) -> Histogram:
    return Histogram(bounds, tuple(_numbers(numbers, start, len(bounds) + 1)), total)


def _sum_rows(sizes: Mapping[int, Numbers]) -> Histogram:
    """Return how many runs had how many rows; those of sizes that there was no room for are beyond all bounds."""
    counts, total = [0] * (len(_BOUNDS_ROWS) + 1), 0
    for rows, size in sizes.items():
        counts[bisect_left(_BOUNDS_ROWS, rows) if rows else -1] += int(size[1])
        total += rows * int(size[1]) if rows else int(size[0])
    return Histogram(_BOUNDS_ROWS, tuple(counts), total)


def _read_last(numbers: Numbers) -> int:
    """Return when a request was last answered, in milliseconds since the epoch; 0 for never."""
    last_ns = int(numbers[_LAST_NS].max())
    return (time.time_ns() - time.monotonic_ns() + last_ns) // 1_000_000 if last_ns else 0


def _numbers(numbers: Numbers, start: int, size: int) -> list[int]:
    return [int(number) for number in numbers[start : start + size]]
