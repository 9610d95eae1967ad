"""Results of a batch, made up: what each row holds follows from its number."""

from collections.abc import Iterator
from multiprocessing.connection import Connection

import numpy as np
from strata_client.batch.blocks import Block, Column, Found, Layout, Part, join
from strata_client.batch.formats import open_format
from strata_client.batch.rows import Failure

TYPES = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")

COLUMNS = tuple(
    Column(f"{np.dtype(each)}.{len(shape)}", np.dtype(each), shape) for each in TYPES for shape in ((), (3,), (2, 3))
)
"""A column of every type: plain numbers, vectors and matrices."""

LAYOUT = Layout(
    (Column("block/conv", np.dtype(np.float32), (4, 5, 2)), Column("dense", np.dtype("f2"), (3,))), 4, 12, 30
)
"""Three parts, the last one shorter; its last group is short as well."""

FINGERPRINT = "0123abcd"


def make_rows(start: int, stop: int, layout: Layout = LAYOUT, *, mended: bool = False) -> Block:
    """Return rows; every seventh failed, unless they are `mended`."""
    numbers = range(start, stop)
    failures = [Failure("INVALID_ARGUMENT", f"row {n} is no picture, but “{n}”") for n in numbers]
    failed = [n % 7 == 3 and not mended for n in numbers]
    return Block(
        [f"größe/{n}.png" for n in numbers],
        [None if each else f"class {n % 3}" for n, each in zip(numbers, failed, strict=True)],
        [None if each else n / 7 for n, each in zip(numbers, failed, strict=True)],
        [failure if each else None for failure, each in zip(failures, failed, strict=True)],
        {column.name: _make_values(column, numbers) for column in layout.columns},
    )


def cut_rows(part: Part, size: int, layout: Layout = LAYOUT) -> Iterator[Block]:
    """Give the rows of a part in blocks of one size."""
    for start in range(part.start, part.stop, size):
        yield make_rows(start, min(start + size, part.stop), layout)


def write_all(where: str, connection: Connection | None = None) -> list[Found]:
    """Write and finish a result as a job does; each block that is taken is told on the connection first."""
    chosen = open_format(where)
    place = chosen.locate(where)
    chosen.prepare(place, LAYOUT, FINGERPRINT)
    place.clean()
    parts = [LAYOUT.part(number) for number in range(LAYOUT.part_count)]
    for part in parts:
        if chosen.find(place, part) is None:
            chosen.write(place, LAYOUT, part, FINGERPRINT, _told(cut_rows(part, 2), connection))
    chosen.finish(place, LAYOUT, FINGERPRINT)
    return [found for part in parts if (found := chosen.find(place, part))]


def read_all(where: str, layout: Layout = LAYOUT) -> Block:
    """Read a result back."""
    chosen = open_format(where)
    place = chosen.locate(where)
    parts = [layout.part(number) for number in range(layout.part_count)]
    return join([block for part in parts for block in chosen.read(place, layout, part)])


def _make_values(column: Column, numbers: range) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    element = np.arange(column.row_bytes // column.dtype.itemsize).reshape(column.shape)
    rows = np.array(numbers).reshape(-1, *([1] * len(column.shape)))
    return np.asarray((element + 3 * rows) % 5, column.dtype)


def _told(blocks: Iterator[Block], connection: Connection | None) -> Iterator[Block]:
    for block in blocks:
        if connection:
            connection.send(len(block))
        yield block
