"""What enters a network, row by row, so that it can be sent in parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
from strata.v1.tensor_pb2 import Images, Tensor, Tensors

from strata_client import images, tensors
from strata_client._shared import Array, Fields, Inputs, encodable
from strata_client.images import Picture

QUICK_BYTES = 2**20
"""What is copied in less time than an event loop may be held up for: half a millisecond."""

_PICTURE_BYTES = 8
"""At most what a picture's place in a message takes beside its bytes."""


class Rows(Protocol):
    """What enters: some rows."""

    count: int
    """How many; 1 where they cannot be told apart."""
    are_pictures: bool

    def write(self, first: int, last: int, budget: int) -> tuple[Fields, int]:
        """Write rows from `first` up to but without `last`, as many as stay within so many bytes, at least one.

        Returns:
            What goes into the request, and the first row that does not.
        """
        ...


def enter(inputs: Inputs, max_bytes: int) -> Rows:
    """Return the rows of whatever a caller gives.

    Raises:
        TypeError: it is nothing that enters a network.
    """
    if isinstance(inputs, np.ndarray):
        return Arrays({"": inputs})
    if isinstance(inputs, Mapping):
        return Arrays({encodable(name, "input"): _check_array(name, inputs[name]) for name in inputs})
    if images.is_picture(inputs):
        return Pictures([inputs], max_bytes)
    if isinstance(inputs, Sequence):
        pictures = [row for row in inputs if images.is_picture(row)]
        if len(pictures) == len(inputs):
            return Pictures(pictures, max_bytes)
    raise TypeError(
        "inputs: expected a numpy array, a mapping of names to arrays, or pictures "
        f"(paths, bytes, PIL images); received {_kind(inputs)}"
    )


def is_quick(inputs: object) -> bool:
    """Say whether inputs are written in no time: no file is read, no image compressed, and not much copied."""
    if isinstance(inputs, Mapping):
        return _count_bytes(inputs.values()) <= QUICK_BYTES
    if isinstance(inputs, Sequence) and not images.is_picture(inputs):
        are_bytes = all(isinstance(row, bytes | bytearray | memoryview) for row in inputs)
        return are_bytes and _count_bytes(inputs) <= QUICK_BYTES
    if isinstance(inputs, np.ndarray | bytes | bytearray | memoryview):
        return _count_bytes([inputs]) <= QUICK_BYTES
    return not images.is_picture(inputs)


def _count_bytes(values: Iterable[object]) -> int:
    return sum(
        value.nbytes if isinstance(value, np.ndarray | memoryview) else len(value)
        for value in values
        if isinstance(value, np.ndarray | bytes | bytearray | memoryview)
    )


class Arrays:
    """Arrays by the names of inputs or layers; an empty name is that of the only input."""

    are_pictures = False

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._arrays = arrays
        counts = {len(array) if array.ndim else 0 for array in arrays.values()}
        # Where they do not fit together the server says so, of all of it.
        self.count = max(1, counts.pop()) if len(counts) == 1 else 1
        self._row_bytes = max(1, sum(array.nbytes for array in arrays.values()) // self.count)

    def write(self, first: int, last: int, budget: int) -> tuple[Fields, int]:
        """Write some rows."""
        if self.count > 1:
            last = min(last, first + max(1, budget // self._row_bytes))
        while True:
            written = Tensors(tensors=[self._write(name, first, last) for name in self._arrays])
            # Only text may have more bytes than its array: each row its own number of them.
            if last - first <= 1 or written.ByteSize() <= budget:
                return {"tensors": written}, last
            last = first + (last - first) // 2

    def _write(self, name: str, first: int, last: int) -> Tensor:
        array = self._arrays[name]
        return tensors.write(array if self.count == last - first else array[first:last], name)


class Pictures:
    """A picture for each row."""

    are_pictures = True

    def __init__(self, pictures: Sequence[Picture], max_bytes: int) -> None:
        self.count = max(1, len(pictures))
        self._pictures = pictures
        self._max_bytes = max_bytes
        self._next: tuple[int, bytes] | None = None

    def write(self, first: int, last: int, budget: int) -> tuple[Fields, int]:
        """Write some rows.

        Raises:
            InvalidArgument: a PIL image has a mode that PNG does not know.
            ResourceExhausted: a file is larger than a message may be.
            OSError: a file cannot be read.
        """
        encoded: list[bytes] = []
        filled = 0
        for row in range(first, min(last, len(self._pictures))):
            data = self._encode(row)
            filled += len(data) + _PICTURE_BYTES
            if encoded and filled > budget:
                self._next = (row, data)  # it begins the next part, and is not read twice
                break
            encoded.append(data)
        return {"images": Images(encoded=encoded)}, first + max(1, len(encoded))

    def _encode(self, row: int) -> bytes:
        kept, self._next = self._next, None
        return kept[1] if kept and kept[0] == row else images.encode(self._pictures[row], self._max_bytes)


def _check_array(name: str, array: object) -> Array:
    if not isinstance(array, np.ndarray):
        raise TypeError(f"input {name!r}: expected a numpy array; received {type(array).__name__}")
    return array


def _kind(value: object) -> str:
    if isinstance(value, Sequence):
        return f"{type(value).__name__} of {', '.join(sorted({type(item).__name__ for item in value}))}"
    return type(value).__name__
