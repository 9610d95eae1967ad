"""How a result is cut into parts, groups and requests."""

from __future__ import annotations

from collections.abc import Sequence

from strata_client.batch.blocks import Column, Layout
from strata_client.catalog import Description

GROUP_BYTES = 16 * 2**20
"""Tensors of a row group: what a writer holds, and a reader reads at once."""
PART_BYTES = 128 * 2**20
"""Tensors of a part."""
MOST_PART_ROWS = 16_384
_FEWEST_PART_ROWS = 256
_PART_MULTIPLY_ADDS = 4 * 10**12  # a minute of two CPUs, a second or two of a GPU
REQUEST_BYTES = 8 * 2**20
"""Activations of an answer."""
MOST_REQUEST_ROWS = 256
_FEWEST_REQUEST_ROWS = 16  # fewer would not fill the batches that a network is fast with
_REQUEST_MULTIPLY_ADDS = 10**10  # some tenths of a second of a CPU: a request has a deadline


def lay_out(columns: Sequence[Column], rows: int, part_rows: int) -> Layout:
    """Return the layout of a result.

    Args:
        columns: of it.
        rows: of it.
        part_rows: of a part, or some more: it has whole groups.
    """
    group_rows = max(1, min(part_rows, GROUP_BYTES // _count_bytes(columns)))
    groups = -(-part_rows // group_rows)
    group_rows = -(-part_rows // groups)
    return Layout(tuple(columns), group_rows, groups * group_rows, rows)


def choose_part_rows(description: Description, columns: Sequence[Column]) -> int:
    """Return how many rows a part has, of which a crash costs as many at most: few megabytes and a minute of work."""
    by_work = max(_FEWEST_PART_ROWS, _PART_MULTIPLY_ADDS // _count_multiply_adds(description))
    return max(1, min(MOST_PART_ROWS, by_work, PART_BYTES // _count_bytes(columns)))


def choose_request_rows(description: Description, columns: Sequence[Column], layout: Layout) -> int:
    """Return how many rows are asked for at once: enough to fill batches, and an answer that is soon there."""
    by_work = max(_FEWEST_REQUEST_ROWS, _REQUEST_MULTIPLY_ADDS // _count_multiply_adds(description))
    return max(1, min(MOST_REQUEST_ROWS, by_work, REQUEST_BYTES // _count_bytes(columns), layout.part_rows))


def _count_bytes(columns: Sequence[Column]) -> int:
    return max(1, sum(column.row_bytes for column in columns))


def _count_multiply_adds(description: Description) -> int:
    return max(1, sum(layer.multiply_adds for layer in description.layers))
