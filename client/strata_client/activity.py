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

    A channel is a feature map of a convolution, or a unit of a dense layer. The figures are of the finite values
    alone, and NaN where there are none: of text they all are, and none of its channels is dead.
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


@dataclass(frozen=True)
class TopChannel:
    """One of the channels that were the largest somewhere."""

    channel: int
    """Its index among the layer's own channels."""
    share: float
    """Of the rows and places, where it is among the largest: 0..1."""
    mean: float
    """Of its values there."""


def measure(activation: Array, axis: int = -1) -> Activity:
    """Measure an activation of shape (rows, ...) and any type of number, whose channels that axis counts."""
    if activation.dtype.hasobject:
        return _measure_text(activation, axis)
    values = _in_columns(as_floats(activation), axis)
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


def _measure_text(activation: Array, axis: int) -> Activity:
    channels = _in_columns(activation, axis).shape[1]
    return Activity(
        smallest=np.nan,
        mean=np.nan,
        largest=np.nan,
        zero_share=np.nan,
        nan_count=0,
        infinite_count=0,
        strengths=np.zeros(channels),
        dead=np.zeros(channels, np.bool_),
    )


def measure_statistics(statistics: Array) -> Activity:
    """Return what is known of an activation from its statistics, shape (rows, 5, channels).

    Whether single values are no numbers is not known: counted are channels whose mean is none.
    """
    means, _, smallest, largest, zero_shares = np.moveaxis(as_floats(statistics).astype(np.float64), 1, 0)
    whole = measure(means)
    return Activity(
        smallest=measure(smallest).smallest,
        mean=whole.mean,
        largest=measure(largest).largest,
        zero_share=measure(zero_shares).mean,
        nan_count=whole.nan_count,
        infinite_count=whole.infinite_count,
        strengths=whole.strengths,
        dead=((smallest == 0) & (largest == 0)).all(axis=0),
    )


def count_top(activation: Array, channels: npt.NDArray[np.int32], axis: int = -1) -> list[TopChannel]:
    """Return the channels that are among the largest anywhere, those of the most places first.

    Args:
        activation: the values of the largest channels at each place, shape (rows, ...).
        channels: the indices of those channels, in the same shape.
        axis: which one counts the largest.
    """
    found, places, counts = np.unique(channels, return_inverse=True, return_counts=True)
    sums = np.bincount(places.reshape(-1), as_floats(activation).reshape(-1).astype(np.float64), len(found))
    shares = counts * channels.shape[axis] / max(channels.size, 1)
    top = [
        TopChannel(int(channel), float(share), float(total / count))
        for channel, share, total, count in zip(found, shares, sums, counts, strict=True)
    ]
    return sorted(top, key=lambda one: (-one.share, np.isnan(one.mean), -one.mean, one.channel))


def as_floats(array: Array) -> Floats:
    """Return the values as floating-point numbers, without a copy where they are."""
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def _strengths(values: Floats, finite: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    sums = np.abs(values).sum(axis=0, dtype=np.float64, where=finite)
    # A channel without a finite value has no strength, and 0 puts it last without being dead.
    return np.asarray(sums / np.maximum(np.count_nonzero(finite, axis=0), 1), np.float64)


def _in_columns(values: Array, axis: int) -> Array:
    """Return the values as (everything else, channels); a single number for a row is one channel."""
    if values.ndim < 2:
        return values.reshape(-1, 1)
    return np.moveaxis(values, axis, -1).reshape(-1, values.shape[axis])
