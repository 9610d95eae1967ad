"""What comes out: rows of the result, in columns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from strata_client.activity import Array
from strata_client.batch.rows import Failure

if TYPE_CHECKING:
    from strata_client.batch.place import Place

NAMED = ("key", "label", "score", "error_code", "error")
"""The columns of every result, before those of the layers; a layer of such a name gets underscores behind it."""


@dataclass(frozen=True)
class Column:
    """One tensor for each row."""

    name: str
    """The layer; `LAYER.channels` for the indices that `top:K` and `labels:K` leave beside the values."""
    dtype: np.dtype[Any]
    """A number or truth value of at most 8 bytes, little-endian."""
    shape: tuple[int, ...]
    """Of one row; `()` for a number."""

    @property
    def row_bytes(self) -> int:
        """How many bytes a row of it has."""
        size = self.dtype.itemsize
        for each in self.shape:
            size *= each
        return size


@dataclass(frozen=True, eq=False)
class Block:
    """Some rows of a result, one after another."""

    keys: Sequence[str]
    labels: Sequence[str | None]
    """The best class of each row; None where it failed, or the model has no labels."""
    scores: Sequence[float | None]
    """That of the label."""
    failures: Sequence[Failure | None]
    tensors: Mapping[str, Array] = field(repr=False)
    """By the columns' names, each (rows, ...). A row that failed holds NaN, or 0 where the type has none: null tensors
    do not survive Parquet everywhere."""

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def failed(self) -> int:
        """How many of the rows failed."""
        return len(self.failures) - self.failures.count(None)

    def cut(self, start: int, stop: int) -> Block:
        """Return the rows from `start` up to but without `stop`; the tensors are views, not copies."""
        return Block(
            self.keys[start:stop],
            self.labels[start:stop],
            self.scores[start:stop],
            self.failures[start:stop],
            {name: values[start:stop] for name, values in self.tensors.items()},
        )

    def texts(self) -> dict[str, list[str | None]]:
        """Return what is text in it, by the columns' names; None where a row has none.

        A file's name may hold bytes that are no UTF-8: they are written as in `names.escape`.
        """
        names = {label: None if label is None else _encodable(label) for label in set(self.labels)}  # few, of many rows
        if not self.failed:
            codes: list[str | None] = [None] * len(self)
            reasons = codes
        else:
            codes = [None if failure is None else failure.code for failure in self.failures]
            reasons = [None if failure is None else _encodable(failure.reason) for failure in self.failures]
        keys: list[str | None] = [_encodable(key) for key in self.keys]
        return {"key": keys, "label": [names[label] for label in self.labels], "error_code": codes, "error": reasons}


def join(blocks: Sequence[Block]) -> Block:
    """Return blocks one behind another; one alone as it is, of more the tensors are copied."""
    if len(blocks) == 1:
        return blocks[0]
    return Block(
        [key for block in blocks for key in block.keys],
        [label for block in blocks for label in block.labels],
        [score for block in blocks for score in block.scores],
        [failure for block in blocks for failure in block.failures],
        {name: np.concatenate([block.tensors[name] for block in blocks]) for name in blocks[0].tensors},
    )


def regroup(blocks: Iterable[Block], layout: Layout, part: Part) -> Iterator[Block]:
    """Give the rows of a part in blocks of `layout.group_rows`, the last one perhaps less.

    It holds what it gives, or what that is joined from, and the block that it took last.

    Raises:
        ValueError: they are more or fewer rows than the part has, or of other columns than the layout.
    """
    held: list[Block] = []
    count = rows = 0
    for block in blocks:
        _check(block, layout)
        start, rows = 0, rows + len(block)
        while count + len(block) - start >= layout.group_rows:
            stop = start + layout.group_rows - count
            group = join([*held, block.cut(start, stop)])
            held, count, start = [], 0, stop
            yield group
            del group  # before the next one is joined
        if start < len(block):
            held.append(block.cut(start, len(block)))
            count += len(block) - start
    if held:
        yield join(held)
    if rows != part.rows:
        raise ValueError(f"part {part.number}: expected {part.rows:,} rows; received {rows:,}")


def assemble(arrays: Mapping[str, Array], layout: Layout) -> Block:
    """Return a block of arrays by the columns' names that have no nulls: empty text stands for none, and NaN."""
    codes, reasons = arrays["error_code"].tolist(), arrays["error"].tolist()
    return Block(
        arrays["key"].tolist(),
        [label or None for label in arrays["label"].tolist()],
        [None if math.isnan(score) else score for score in arrays["score"].tolist()],
        [Failure(code, reason) if code else None for code, reason in zip(codes, reasons, strict=True)],
        {column.name: arrays[column.name] for column in layout.columns},
    )


def equal(a: Block, b: Block) -> bool:
    """Say whether two blocks hold the same rows: scores as float32, tensors bit for bit."""
    return (
        a.texts() == b.texts()
        and [_round(score) for score in a.scores] == [_round(score) for score in b.scores]
        and a.tensors.keys() == b.tensors.keys()
        and all(_same(values, b.tensors[name]) for name, values in a.tensors.items())
    )


def _check(block: Block, layout: Layout) -> None:
    """Refuse what would be converted in silence, or would leave a column shorter than the others."""
    expected = {column.name: (column.dtype, (len(block), *column.shape)) for column in layout.columns}
    received = {name: (values.dtype, values.shape) for name, values in block.tensors.items()}
    if expected != received:
        raise ValueError(f"expected the columns {expected}; received {received}")
    lengths = {len(block.keys), len(block.labels), len(block.scores), len(block.failures)}
    if len(lengths) > 1:
        raise ValueError(f"expected as many labels, scores and failures as keys; received {sorted(lengths)}")


def _encodable(text: str) -> str:
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


def _round(score: float | None) -> float | None:
    return None if score is None else float(np.float32(score))


def _same(a: Array, b: Array) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@dataclass(frozen=True)
class Part:
    """Rows of a source whose results stand in files of their own: what is done at once, or again."""

    number: int
    """From 0."""
    start: int
    """The number of its first row in the source."""
    stop: int
    """That of the first one behind it."""

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return self.stop - self.start


@dataclass(frozen=True)
class Layout:
    """How a result is laid out; the same for all of its parts, and for every run of the job."""

    columns: tuple[Column, ...]
    group_rows: int
    """Rows that are written together, such as a row group: as many as stay within the bytes for it."""
    part_rows: int
    """Rows of a part, the last one perhaps less; a multiple of `group_rows`."""
    rows: int
    """Of the whole result."""

    @property
    def row_bytes(self) -> int:
        """How many bytes the tensors of a row have."""
        return sum(column.row_bytes for column in self.columns)

    @property
    def part_count(self) -> int:
        """How many parts there are."""
        return -(-self.rows // self.part_rows)

    def part(self, number: int) -> Part:
        """Return a part by its number."""
        start = number * self.part_rows
        return Part(number, start, min(start + self.part_rows, self.rows))


@dataclass(frozen=True)
class Found:
    """What stands in a place for a part."""

    fingerprint: str
    """Of the job that it belongs to."""
    rows: int
    failed: int
    """How many of the rows failed."""


class Format(Protocol):
    """A way to keep results. All that it writes has the fingerprint in it."""

    name: str
    """As `--format` takes it."""

    def locate(self, where: str) -> Place:
        """Return the place for the parts of a result, and for what a job keeps beside them.

        Args:
            where: the result's path or URL, as `--out` takes it.
        """
        ...

    def prepare(self, place: Place, layout: Layout, fingerprint: str) -> None:
        """Make what the parts stand in, the place with it; nothing where it is there already.

        Raises:
            InvalidArgument: the format cannot hold a column, or another job's result stands there.
            OSError: it cannot be made.
        """
        ...

    def find(self, place: Place, part: Part) -> Found | None:
        """Look for a finished part; None where there is none, or one that a crash left unfinished.

        Raises:
            InvalidArgument: what stands there is damaged, or nothing of this format's.
        """
        ...

    def write(self, place: Place, layout: Layout, part: Part, fingerprint: str, blocks: Iterable[Block]) -> Found:
        """Write a part whole or not at all: under a temporary name, renamed at the end, over one that is there.

        Args:
            place: where.
            layout: of the result.
            part: which one.
            fingerprint: of the job.
            blocks: its rows in their order, in blocks of any size, taken one at a time; what raises while it is
                taken leaves no trace here.

        Raises:
            ValueError: the rows are more or fewer than the part has, or of other columns than the layout.
            OSError: it cannot be written.
        """
        ...

    def read(self, place: Place, layout: Layout, part: Part) -> Iterator[Block]:
        """Read a finished part back, a group at a time.

        Raises:
            InvalidArgument: it is damaged.
            OSError: it cannot be read, or is not there.
        """
        ...

    def finish(self, place: Place, layout: Layout, fingerprint: str) -> None:
        """Do what is left when all parts are there; to do it again changes nothing."""
        ...
