"""Does to an activation what a reduction says."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strata_server.elements import wide_type
from strata_server.reductions import INDEX, Pooling, Reduction, check_sizes, space_axes
from strata_server.tensors import Array

# Statistics take a float64 copy of that many elements (or of one row) at a time, whatever the layer's size.
_BLOCK_ELEMENTS = 2**18
_BLOCK_PLACES = 128
_ONES = np.ones((1, _BLOCK_PLACES), np.float32)


@dataclass(frozen=True)
class Reduced:
    """What is sent for an activation."""

    value: Array
    channels: Array | None
    """Where the top channels or labels were asked, which ones they are, in the shape of the value."""


def reduce(name: str, reduction: Reduction, value: Array, channel_axis: int) -> Reduced:
    """Return the activation of a layer, reduced; where nothing is asked, the very same array.

    Args:
        name: the layer's name, for messages.
        reduction: what `check_reduction` has let pass.
        value: (rows, ...), with the channels at `channel_axis`.
        channel_axis: 0 where none is known.

    Raises:
        InvalidArgument: a range beyond a size that only this value tells, or no place to take figures of.
    """
    return finish(reduction, summarize(name, reduction, value, channel_axis), channel_axis)


def summarize(name: str, reduction: Reduction, value: Array, channel_axis: int) -> Array:
    """Return what the ranges, the pooling and the statistics of a reduction make of an activation.

    Each row's result is of that row alone, to the last bit, so that those of several requests may be taken at once.
    Arguments and errors as in `reduce`.
    """
    check_sizes(name, reduction, value.shape, channel_axis)
    ranges = reduction.ranges(value.ndim, channel_axis)
    if ranges:
        value = value[tuple(slice(*ranges.get(axis, (None, None))) for axis in range(value.ndim))]
    if not reduction.takes_figures:
        return value
    space, wide = space_axes(value.ndim, channel_axis), _widen(value)
    with np.errstate(all="ignore"):  # NaN, infinities and what becomes one are data
        figures = _pool(reduction.pooling, wide, space) if reduction.pooling else _describe(wide, space)
        return figures.astype(value.dtype, copy=False)


def finish(reduction: Reduction, value: Array, channel_axis: int) -> Reduced:
    """Return what a reduction makes of a value that `summarize` has returned."""
    if not reduction.top and not reduction.half:
        return Reduced(value, None)
    axis = 1 if reduction.pooling else channel_axis
    channels = None
    if reduction.top:
        best = _find_best(_widen(value), reduction.top, axis)
        value = np.take_along_axis(value, best, axis)
        channels = (best + (reduction.channels or (0,))[0]).astype(INDEX)
    with np.errstate(all="ignore"):  # an overflow is data as well
        return Reduced(value.astype(np.float16, copy=False) if reduction.half else value, channels)


def _widen(value: Array) -> Array:
    """Return values in a type that numpy has sums and an order for."""
    return value.astype(wide_type(value.dtype), copy=False)


def _pool(pooling: Pooling, value: Array, space: tuple[int, ...]) -> Array:
    """Return (rows, channels)."""
    pooled: Array = value.max(space) if pooling is Pooling.MAX else _mean(value, space)
    return pooled.astype(value.dtype, copy=False)


def _mean(value: Array, space: tuple[int, ...]) -> Array:
    """Return the mean over space, exact to the last places of a float32."""
    if value.size and value.dtype == np.float32 and space == tuple(range(1, value.ndim - 1)):
        places = math.prod(value.shape[1:-1])
        means = _sum_places(np.asarray(value, np.float32).reshape(len(value), places, -1)) / places
        # What overflows a float32 need not overflow its mean; a row without any is not to feel its neighbor's.
        overflows = ~np.isfinite(means).all(axis=1)
        if overflows.any():
            means[overflows] = value[overflows].mean(space, dtype=np.float64)
        return means
    return np.asarray(value.mean(space, dtype=np.float64))


def _sum_places(value: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the sums over the second axis of (rows, places, channels).

    A product with ones is several times as fast as a sum, but adds in float32: over few places at a time, so that a
    large layer is not off by 3e-6.
    """
    places = value.shape[1]
    whole = places - places % _BLOCK_PLACES
    blocks = value[:, :whole].reshape(len(value), -1, _BLOCK_PLACES, value.shape[2])
    rest = np.matmul(_ONES[:, : places - whole], value[:, whole:])[:, 0]
    return np.asarray(np.matmul(_ONES, blocks)[:, :, 0].sum(1, dtype=np.float64) + rest)


def _describe(value: Array, space: tuple[int, ...]) -> Array:
    """Return (rows, 5, channels)."""
    rows = max(1, _BLOCK_ELEMENTS // max(1, math.prod(value.shape[1:])))
    starts = range(0, max(1, len(value)), rows)
    return np.concatenate([_describe_block(value[start : start + rows], space) for start in starts])


def _describe_block(value: Array, space: tuple[int, ...]) -> Array:
    exact = value.astype(np.float64)
    mean = exact.mean(space, keepdims=True)
    places = math.prod(value.shape[axis] for axis in space)
    figures = [
        mean.squeeze(space),
        exact.std(space, mean=mean),
        value.min(space),
        value.max(space),
        np.count_nonzero(value == 0, axis=space) / places,
    ]
    return np.stack(figures, axis=1).astype(value.dtype)


def _find_best(value: Array, count: int, axis: int) -> np.ndarray[tuple[int, ...], np.dtype[np.intp]]:
    """Return the indices of the largest elements along an axis: equal ones in their order, NaN last."""
    # Both turn the order around without overflow, and a sort puts NaN at the end.
    descending = np.invert(value) if value.dtype.kind in "biu" else np.negative(value)
    order = np.argsort(descending, axis=axis, kind="stable")
    return order[(slice(None),) * axis + (slice(count),)]
