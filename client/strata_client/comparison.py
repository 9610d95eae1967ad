"""Asks two versions of a network for the same layers of the same inputs, as much at a time as fits a message."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from strata_client import _chunks
from strata_client._calls import Call, Conversation, ask, ask_all
from strata_client._chunks import Limits
from strata_client._questions import Activation
from strata_client._rows import Rows, enter
from strata_client._shared import Array, Inputs
from strata_client._sizes import row_bytes
from strata_client.activations import Activations
from strata_client.catalog import Description, Layer
from strata_client.differences import Difference, Differences, divide
from strata_client.errors import (
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    ServerError,
    StrataError,
    Unimplemented,
)

TOLERANCE = 1e-3
"""Unless told otherwise: float32 computed in another order stays well below, and a lost scale does not."""

# What a server says of a layer that it cannot compute, or not in one answer; all else ends the comparison.
_OF_A_LAYER = (InvalidArgument, NotFound, ResourceExhausted, Unimplemented, ServerError)


@dataclass(frozen=True)
class _Side:
    """One of the two versions, and what enters it."""

    description: Description
    rows: Rows
    entries: tuple[str, ...]
    """Where it enters."""
    max_bytes: int
    eyes: _Side | None = None
    """The other one, where that alone takes pictures: what it saw enters here."""

    def see(self, first: int, last: int) -> Conversation[Activations]:
        """Return what the network sees of some rows where they enter it, which costs next to nothing."""
        call = yield from self.write(first, last, self.entries)
        return (yield from ask(call))

    def write(
        self, first: int, last: int, layers: Sequence[str], tolerated: tuple[type[StrataError], ...] = ()
    ) -> Conversation[Call[Activations]]:
        """Return the call for some layers of some rows.

        Raises:
            ResourceExhausted: a message has no room for so many rows.
        """
        rows, start, stop = self.rows, first, last
        if self.eyes:
            seen = yield from self.eyes.see(first, last)
            rows, start, stop = enter(seen[self.eyes.entries[0]], self.max_bytes), 0, last - first
        fields, written = rows.write(start, stop, self.max_bytes)
        if written < stop:
            raise ResourceExhausted(f"{stop - start} rows have more than {self.max_bytes:,} bytes")
        question = Activation(layers, "none")
        body = _chunks.write(question, fields, self.description.reference, self.max_bytes)
        return Call(
            question.path, body, question.read, tolerated=tolerated, refuse=lambda error: _chunks.locate(error, first)
        )


@dataclass
class _Tally:
    """What is known of one layer so far."""

    layer: Layer
    name_b: str
    largest: float = 0.0
    total: float = 0.0
    count: int = 0
    magnitude: float = 0.0
    error: str = ""

    def add(self, a: Array, b: Array) -> None:
        """Compare some more rows."""
        if a.shape != b.shape:
            self.error = f"shapes {list(a.shape)} and {list(b.shape)}"
            return
        if a.dtype.hasobject or b.dtype.hasobject:
            self._add_text(a, b)
            return
        apart, finite = _subtract(a, b), np.isfinite(a)
        self.largest = max(self.largest, float(apart.max(initial=0)))
        self.total += float(apart.sum())
        self.count += apart.size
        magnitudes = np.abs(a.astype(np.float64))
        self.magnitude = max(self.magnitude, float(magnitudes.max(initial=0, where=finite)))

    def _add_text(self, a: Array, b: Array) -> None:
        """Compare text, which differs by infinity or not at all."""
        self.largest = self.largest if np.array_equal(a, b) else inf
        self.total += self.largest
        self.count += a.size

    def close(self, tolerance: float) -> Difference:
        """Return the difference over all rows."""
        name, kind = self.layer.name, self.layer.kind
        if self.error:
            return Difference(name, kind, np.nan, np.nan, np.nan, past=False, error=self.error)
        mean = self.total / max(self.count, 1)
        past = divide(self.largest, self.magnitude) > tolerance
        return Difference(name, kind, self.largest, mean, self.magnitude, past=past)


def compare(
    a: str,
    b: str,
    inputs: Inputs,
    *,
    layers: Sequence[str] = (),
    tolerance: float = TOLERANCE,
    limits: Limits,
) -> Conversation[Differences]:
    """Ask two versions for the same layers of the same inputs; `Client.diff` says the rest."""
    if not 0 <= tolerance < inf:
        raise InvalidArgument(f"tolerance: expected a number from 0; received {tolerance}")
    described_a, described_b = (yield from ask(_chunks.describe(a))), (yield from ask(_chunks.describe(b)))
    common = _match(described_a, described_b, layers)
    before = _names_before(inputs, described_a)
    tallies = [tally for tally in common.tallies if tally.layer.name not in before]
    if not tallies:
        raise InvalidArgument(f"{described_a.reference} and {described_b.reference} have no layer to compare")
    sides = yield from _enter(inputs, described_a, described_b, limits.request_bytes)
    rows = sides[0].rows.count
    for first, last, group in _plan(tallies, rows, limits.answer_bytes):
        yield from _ask(sides, first, last, group)
    return Differences(
        described_a.reference,
        described_b.reference,
        rows,
        tolerance,
        tuple(tally.close(tolerance) for tally in tallies),
        common.only_a,
        common.only_b,
        common.reshaped,
        tuple(tally.layer.name for tally in common.tallies if tally.layer.name in before),
    )


def _enter(inputs: Inputs, a: Description, b: Description, max_bytes: int) -> Conversation[tuple[_Side, _Side]]:
    """Return both sides, each checked by its server with one row before many layers are asked."""
    side_a = _make_side(a, inputs, max_bytes)
    side_b = _make_side(b, _rename(inputs, a, b), max_bytes)
    if side_a.rows.are_pictures:
        if a.preprocessing and not b.preprocessing:
            side_b = replace(side_b, eyes=side_a)
        elif b.preprocessing and not a.preprocessing:
            side_a = replace(side_a, eyes=side_b)
    for side in (side_a, side_b):
        yield from side.see(0, 1)
    return side_a, side_b


def _make_side(description: Description, inputs: Inputs, max_bytes: int) -> _Side:
    entries = tuple(inputs) if isinstance(inputs, Mapping) else (description.entry,)
    return _Side(description, enter(inputs, max_bytes), entries, max_bytes)


def _rename(inputs: Inputs, a: Description, b: Description) -> Inputs:
    """Return arrays under the names that B has for A's only input."""
    if not isinstance(inputs, Mapping):
        return inputs
    names = _input_names(a, b)
    return {names.get(name, name): value for name, value in inputs.items()}


def _input_names(a: Description, b: Description) -> dict[str, str]:
    """Return B's name for A's input, where each has one."""
    return {a.inputs[0]: b.inputs[0]} if len(a.inputs) == len(b.inputs) == 1 else {}


def _names_before(inputs: Inputs, description: Description) -> set[str]:
    """Return the layers that no request from these entries can reach, as their depth says."""
    if not isinstance(inputs, Mapping):
        return set()
    entries = [layer for layer in description.layers if layer.name in inputs]
    depth = min((layer.depth for layer in entries), default=0)
    return {layer.name for layer in description.layers if layer.depth <= depth and layer.name not in inputs}


@dataclass(frozen=True)
class _Common:
    tallies: list[_Tally]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    reshaped: tuple[str, ...]


def _match(a: Description, b: Description, wanted: Sequence[str]) -> _Common:
    """Return what both have; `wanted` restricts it, and must be had by both.

    Raises:
        NotFound: one of them lacks a layer that is wanted.
    """
    # A layer's own name comes first: only an input that B lacks goes by B's name for it.
    renamed = {name: other for name, other in _input_names(a, b).items() if not b.find(name)}
    by_name = {layer.name: layer for layer in b.layers}
    for name in wanted:
        for description in (a, b):
            if not description.find(renamed.get(name, name) if description is b else name):
                raise NotFound(f"{description.reference} has no layer {name!r}")
    pairs = [(layer, renamed.get(layer.name, layer.name)) for layer in a.layers if not wanted or layer.name in wanted]
    shared = [(layer, name) for layer, name in pairs if name in by_name]
    fitting = [(layer, name) for layer, name in shared if _fits(layer, by_name[name])]
    return _Common(
        [_Tally(layer, name) for layer, name in fitting],
        tuple(layer.name for layer, name in pairs if name not in by_name),
        () if wanted else tuple(name for name in by_name if name not in {shared_name for _, shared_name in shared}),
        tuple(layer.name for layer, name in shared if (layer, name) not in fitting),
    )


def _fits(one: Layer, other: Layer) -> bool:
    """Say whether two activations may have the same shape: what is open is known after the run."""
    if one.shape is None or other.shape is None:
        return True
    if len(one.shape) != len(other.shape):
        return False
    return all(-1 in {size, found} or size == found for size, found in zip(one.shape, other.shape, strict=True))


def _plan(tallies: Sequence[_Tally], rows: int, max_bytes: int) -> Iterable[tuple[int, int, list[_Tally]]]:
    """Yield requests, each a range of rows and some layers, whose answers fit a message.

    As many layers as can be go together, by few rows if need be: each set of layers is a slice of its own.
    """
    budget = max_bytes * 9 // 10  # for the names and shapes as well
    sized = [(tally, row_bytes(tally.layer)) for tally in tallies]
    groups: list[list[_Tally]] = [[]]
    filled = 0
    for tally, size in sized:
        if size and filled + size > budget and groups[-1]:
            groups.append([])
            filled = 0
        if size:
            groups[-1].append(tally)
            filled += size
    groups = [group for group in (*groups, *([tally] for tally, size in sized if not size)) if group]
    sizes = {id(tally): size for tally, size in sized}
    for group in groups:
        step = max(1, min(rows, budget // max(1, sum(sizes[id(tally)] for tally in group))))
        for first in range(0, rows, step):
            yield first, min(first + step, rows), group


def _ask(sides: tuple[_Side, _Side], first: int, last: int, tallies: Sequence[_Tally]) -> Conversation[None]:
    """Compare some rows of some layers, halving what cannot be answered together until one layer is to blame."""
    tallies = [tally for tally in tallies if not tally.error]
    if not tallies:
        return
    names = [tally.layer.name for tally in tallies], [tally.name_b for tally in tallies]
    try:
        calls = []
        for side, layers in zip(sides, names, strict=True):
            calls.append((yield from side.write(first, last, layers, _OF_A_LAYER)))
    except _OF_A_LAYER as error:
        yield from _ask_halves(sides, first, last, tallies, error)
        return
    a, b = yield from ask_all(calls)
    if isinstance(a, StrataError):
        yield from _ask_halves(sides, first, last, tallies, a)
    elif isinstance(b, StrataError):
        yield from _ask_halves(sides, first, last, tallies, b)
    else:
        for tally in tallies:
            tally.add(a[tally.layer.name], b[tally.name_b])


def _ask_halves(
    sides: tuple[_Side, _Side], first: int, last: int, tallies: Sequence[_Tally], error: StrataError
) -> Conversation[None]:
    if isinstance(error, ResourceExhausted) and last - first > 1:
        middle = (first + last) // 2
        yield from _ask(sides, first, middle, tallies)
        yield from _ask(sides, middle, last, tallies)
    elif len(tallies) > 1:
        middle = len(tallies) // 2
        yield from _ask(sides, first, last, tallies[:middle])
        yield from _ask(sides, first, last, tallies[middle:])
    else:
        tallies[0].error = str(error)


def _subtract(a: Array, b: Array) -> Array:
    """Return |a - b|: 0 where both are the same or both NaN, infinity where else one is no finite number."""
    same = (a == b) | ((a != a) & (b != b))  # noqa: PLR0124 - only NaN differs from itself, and integers have none
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(a.astype(np.float64) - b.astype(np.float64))
    return np.where(same, 0.0, np.where(np.isnan(apart), inf, apart))
