"""What comes out: rows of the result, in columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from strata_client.batch.rows import Failure

if TYPE_CHECKING:
    import numpy as np

    from strata_client.activity import Array
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

    def prepare(self, place: Place, layout: Layout, fingerprint: str) -> None:
        """Make what the parts stand in; nothing where it is there already."""
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
            OSError: it cannot be written.
        """
        ...

    def read(self, place: Place, layout: Layout, part: Part) -> Iterator[Block]:
        """Read a finished part back, a group at a time."""
        ...

    def finish(self, place: Place, layout: Layout, fingerprint: str) -> None:
        """Do what is left when all parts are there; to do it again changes nothing."""
        ...
