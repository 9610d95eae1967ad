"""How a result is cut into parts, groups and requests."""

from __future__ import annotations

from collections.abc import Sequence

from strata_client.batch.blocks import Column, Layout
from strata_client.catalog import Description

GROUP_BYTES = 16 * 2**20
"""Tensors of a row group: what a writer holds, and a reader reads at once."""
PART_BYTES = 128 * 2**20
"""Tensors of a part: what a crash costs at most."""
MOST_PART_ROWS = 16_384
REQUEST_BYTES = 8 * 2**20
"""Activations of an answer."""
MOST_REQUEST_ROWS = 256
_FEWEST_REQUEST_ROWS = 16  # fewer would not fill the batches that a network is fast with
_REQUEST_MULTIPLY_ADDS = 10**10  # some tenths of a second of a CPU: a request has a deadline


def lay_out(columns: Sequence[Column], rows: int, part_rows: int = 0) -> Layout:
    """Return the layout of a result.

    Args:
        columns: of it.
        rows: of it.
        part_rows: of a part, or some more; 0 for as many as stay within its bytes.
    """
    row_bytes = max(1, sum(column.row_bytes for column in columns))
    most = part_rows or MOST_PART_ROWS
    group_rows = max(1, min(most, GROUP_BYTES // row_bytes))
    if part_rows:
        # A part has whole groups, of which none is larger than it may be.
        groups = -(-part_rows // group_rows)
        group_rows = -(-part_rows // groups)
        return Layout(tuple(columns), group_rows, groups * group_rows, rows)
    groups = max(1, min(most // group_rows, PART_BYTES // (row_bytes * group_rows)))
    return Layout(tuple(columns), group_rows, groups * group_rows, rows)


def choose_request_rows(description: Description, columns: Sequence[Column], layout: Layout) -> int:
    """Return how many rows are asked for at once: enough to fill batches, and an answer that is soon there."""
    row_bytes = max(1, sum(column.row_bytes for column in columns))
    multiply_adds = max(1, sum(layer.multiply_adds for layer in description.layers))
    by_work = max(_FEWEST_REQUEST_ROWS, _REQUEST_MULTIPLY_ADDS // multiply_adds)
    return max(1, min(MOST_REQUEST_ROWS, by_work, REQUEST_BYTES // row_bytes, layout.part_rows))
