"""A data set: inputs, and the label that is right for each."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
"""uint8 pictures (rows, height, width, channels), 0..255, or float32 points (rows, features)."""

Rows = npt.NDArray[np.intp]
"""Places of inputs in a data set."""


@dataclass(frozen=True, eq=False)
class DataSet:
    """Labeled pictures, all of one size, or labeled points."""

    name: str
    """The source's name; of a folder or a .npz file its own name, never its path."""
    inputs: Array
    """Pictures: uint8 (rows, height, width, channels), 0..255; or points: float32 (rows, features)."""
    labels: npt.NDArray[np.int64]
    """(rows,): each a place in `classes`."""
    classes: tuple[str, ...]
    held_out: Rows | None = None
    """The rows that the source itself keeps for testing, if it does."""
    skipped: tuple[str, ...] = ()
    """'file: reason' of each file that was left out because it cannot be read."""

    @property
    def is_pictures(self) -> bool:
        """Whether the inputs are pictures; otherwise they are points."""
        return self.inputs.ndim == 4

    @property
    def digest(self) -> str:
        """SHA-256 of the inputs, the labels and the classes, in lower-case hexadecimal digits."""
        digest = hashlib.sha256(f"{self.inputs.shape} {self.inputs.dtype.name}".encode())
        # Little-endian, so that every machine finds the same digest.
        digest.update(np.ascontiguousarray(self.inputs.astype(self.inputs.dtype.newbyteorder("<"), copy=False)).data)
        digest.update(self.labels.astype("<i8").tobytes())
        # JSON keeps names apart, whatever characters are in them.
        digest.update(json.dumps(self.classes).encode())
        return digest.hexdigest()

    @property
    def class_counts(self) -> dict[str, int]:
        """How many rows each class has."""
        counts = np.bincount(self.labels, minlength=len(self.classes))
        return dict(zip(self.classes, counts.tolist(), strict=True))
