"""Columns in Arrow's memory.

pyarrow.array would do as well, but the first call of it imports pandas wherever that is installed, which takes as long
as thousands of pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from strata_client.activity import Array
from strata_client.errors import MissingExtra

try:
    import pyarrow as pa
except ModuleNotFoundError as error:
    raise MissingExtra("batch", "pyarrow") from error


def write_texts(texts: Sequence[str | None]) -> Any:
    """Return text, null where there is None."""
    if texts.count(None) == len(texts):
        return pa.nulls(len(texts), pa.string())
    encoded = [b"" if text is None else text.encode() for text in texts]
    offsets = np.fromiter(accumulate(map(len, encoded), initial=0), np.int32, len(encoded) + 1)
    data = pa.py_buffer(b"".join(encoded))
    return pa.StringArray.from_buffers(len(texts), pa.py_buffer(offsets), data, _write_validity(texts))


def write_scores(scores: Sequence[float | None]) -> Any:
    """Return scores as float32, null where there is None."""
    values = np.array([0 if score is None else score for score in scores], np.float32)
    return pa.Array.from_buffers(pa.float32(), len(values), [_write_validity(scores), pa.py_buffer(values)])


def write_numbers(values: Array) -> Any:
    """Return numbers, shape (rows,), in the same memory where they lie one behind another."""
    if values.dtype == np.bool_:
        return pa.Array.from_buffers(pa.bool_(), len(values), [None, _pack(values)])
    flat = np.ascontiguousarray(values)
    return pa.Array.from_buffers(pa.from_numpy_dtype(flat.dtype), len(flat), [None, pa.py_buffer(flat)])


def _write_validity(values: Sequence[object]) -> Any:
    return None if None not in values else _pack(np.array([value is not None for value in values]))


def _pack(values: Array) -> Any:
    return pa.py_buffer(np.packbits(values, bitorder="little"))
