"""What an activation does, channel by channel, in a few figures."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Activity:
    """Figures of one activation.

    A channel is one index of the last axis, as Keras lays activations out: a feature map of a convolution, a
    unit of a dense layer. The figures are of the finite values alone, and NaN where there are none.
    """

    smallest: float
    mean: float
    largest: float
    zero_share: float
    """Share of the values that are exactly 0, 0..1."""
    nan_count: int
    infinite_count: int
    strengths: npt.NDArray[np.float64]
    """For each channel the mean of |value| over rows and places, shape (channels,)."""
    dead: npt.NDArray[np.bool_]
    """For each channel whether it is 0 everywhere, shape (channels,)."""

    @property
    def channel_count(self) -> int:
        """How many channels there are, the dead ones included."""
        return len(self.dead)

    @property
    def dead_count(self) -> int:
        """How many channels are 0 everywhere."""
        return int(np.count_nonzero(self.dead))

    @property
    def odd(self) -> str:
        """How many values are no numbers, such as `3 NaN, 1 infinite`; empty where all are."""
        counts = {"NaN": self.nan_count, "infinite": self.infinite_count}
        return ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)

    def rank(self) -> npt.NDArray[np.intp]:
        """Return the channels that are not dead, the most active first, equal ones in their own order."""
        order = np.argsort(-self.strengths, kind="stable")
        return order[~self.dead[order]]


def measure(activation: Array) -> Activity:
    """Measure an activation of shape (rows, ..., channels) and any type of number."""
    values = as_floats(activation).reshape(-1, activation.shape[-1] if activation.ndim > 1 else 1)
    finite = np.isfinite(values)
    zero = values == 0
    return Activity(
        smallest=float(values.min(initial=np.inf, where=finite)) if finite.any() else np.nan,
        mean=float(values.mean(dtype=np.float64, where=finite)) if finite.any() else np.nan,
        largest=float(values.max(initial=-np.inf, where=finite)) if finite.any() else np.nan,
        zero_share=float(zero.mean()) if zero.size else 0.0,
        nan_count=int(np.count_nonzero(np.isnan(values))),
        infinite_count=int(np.count_nonzero(np.isinf(values))),
        strengths=_strengths(values, finite),
        dead=zero.all(axis=0),
    )


def as_floats(array: Array) -> Floats:
    """Return the values as floating-point numbers, without a copy where they are."""
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def _strengths(values: Floats, finite: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    sums = np.abs(values).sum(axis=0, dtype=np.float64, where=finite)
    # A channel without a finite value has no strength, and 0 puts it last without being dead.
    return np.asarray(sums / np.maximum(np.count_nonzero(finite, axis=0), 1), np.float64)
