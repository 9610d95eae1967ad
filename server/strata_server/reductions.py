"""What may be done to an activation before it is sent; `strata/v1/inference.proto` says it to callers."""

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np

from strata_server.elements import STRING, ElementType, is_float, is_ordered, sent_bytes
from strata_server.errors import InvalidArgument, quote

INDEX = np.dtype(np.int32)
"""The type of the indices that come beside the top channels."""
FIGURES = 5
"""Numbers that statistics give for each channel."""


class Step(Enum):
    """One step of a reduction, in the order in which the steps are done."""

    CHANNELS = "channels"
    SPACE = "space"
    POOLING = "pooling"
    STATISTICS = "statistics"
    TOP_CHANNELS = "top_channels"
    TOP_LABELS = "top_labels"
    HALF = "half"


class Pooling(Enum):
    """What makes one number of all places."""

    MEAN = "mean"
    MAX = "max"


@dataclass(frozen=True)
class Reduction:
    """What is done to an activation, in the order of the fields; a range is (start, stop), without stop."""

    channels: tuple[int, int] | None = None
    space: tuple[tuple[int, int], ...] = ()
    """A range for each dimension of space; empty keeps all of it."""
    pooling: Pooling | None = None
    statistics: bool = False
    top_channels: int = 0
    """How many; 0 keeps all of them, in their own order."""
    top_labels: int = 0
    """How many, as top_channels, where the layer is the whole prediction."""
    half: bool = False

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps that it asks for, in their order."""
        return tuple(step for step in Step if getattr(self, step.value))

    @property
    def top(self) -> int:
        """How many of the largest channels are kept at each place; 0 keeps all of them, in their own order."""
        return self.top_channels or self.top_labels

    @property
    def takes_figures(self) -> bool:
        """Whether it makes a few numbers of all places of a channel."""
        return self.pooling is not None or self.statistics

    def ranges(self, dimensions: int, channel_axis: int) -> dict[int, tuple[int, int]]:
        """Return the ranges that are kept, by the axes that they cut."""
        kept = dict(zip(space_axes(dimensions, channel_axis), self.space, strict=True)) if self.space else {}
        return {**kept, channel_axis: self.channels} if self.channels else kept


WHOLE = Reduction()
"""Nothing is done."""

# Statistics need space and labels have none: no layer has both.
_EXCLUSIVE = (
    (Step.STATISTICS, Step.POOLING),
    (Step.STATISTICS, Step.TOP_CHANNELS),
    (Step.TOP_LABELS, Step.CHANNELS),  # a label is missing where its channel is
    (Step.TOP_LABELS, Step.TOP_CHANNELS),
)


def applicable_steps(
    shape: tuple[int, ...] | None, channel_axis: int, dtype: ElementType, *, is_prediction: bool
) -> tuple[Step, ...]:
    """Return the steps that a layer has.

    Args:
        shape: -1 for an open size; None where not even the number of dimensions is known.
        channel_axis: the dimension that counts the channels; 0 where none is known.
        dtype: the type of its elements. A mean of integers is none of them, so only floats have pooling and
            statistics; what has no order has no top channels, and strings have no reduction at all.
        is_prediction: whether the layer is the only default exit.
    """
    floating = is_float(dtype)
    channeled = shape is not None and channel_axis > 0 and dtype != STRING
    spacious = channeled and bool(space_axes(len(shape or ()), channel_axis))
    ordered = channeled and is_ordered(dtype)
    has = {
        Step.CHANNELS: channeled,
        Step.SPACE: spacious,
        Step.POOLING: spacious and floating,
        Step.STATISTICS: spacious and floating,
        Step.TOP_CHANNELS: ordered,
        Step.TOP_LABELS: ordered and is_prediction and not spacious,
        Step.HALF: floating,
    }
    return tuple(step for step in Step if has[step])


def space_axes(dimensions: int, channel_axis: int) -> tuple[int, ...]:
    """Return the axes beside the batch and the channels."""
    return tuple(axis for axis in range(1, dimensions) if axis != channel_axis)


def check_reduction(
    name: str,
    reduction: Reduction,
    shape: tuple[int, ...] | None,
    channel_axis: int,
    dtype: ElementType,
    *,
    is_prediction: bool,
) -> None:
    """Check that a layer has what is asked of it; the arguments are those of `applicable_steps`.

    Raises:
        InvalidArgument: a step that the layer does not have, or that cannot follow another; a range beyond the
            layer; a negative number of channels.
    """
    for step, count in ((Step.TOP_CHANNELS, reduction.top_channels), (Step.TOP_LABELS, reduction.top_labels)):
        if count < 0:
            raise InvalidArgument(f"{quote(name)}: expected {step.value} of 0 or more, received {count}")
    asked = reduction.steps
    has = applicable_steps(shape, channel_axis, dtype, is_prediction=is_prediction)
    for step in asked:
        if step not in has:
            known = ", ".join(possible.value for possible in has) or "none"
            raise InvalidArgument(f"{quote(name)}: the reductions of this layer are: {known}; received {step.value}")
    for step, other in _EXCLUSIVE:
        if step in asked and other in asked:
            raise InvalidArgument(f"{quote(name)}: expected {step.value} or {other.value}, received both")
    if shape is not None:
        check_sizes(name, reduction, shape, channel_axis)


def check_sizes(name: str, reduction: Reduction, shape: tuple[int, ...], channel_axis: int) -> None:
    """Check ranges against the sizes that are known; -1 is an open one.

    Raises:
        InvalidArgument: a range that is empty or reaches beyond its dimension, another number of them than the
            dimensions of space, or no place to take figures of.
    """
    space = space_axes(len(shape), channel_axis)
    if reduction.space and len(reduction.space) != len(space):
        raise InvalidArgument(
            f"{quote(name)}: expected a range for each of {len(space)} dimensions of space, "
            f"received {len(reduction.space)}"
        )
    for axis, (start, stop) in reduction.ranges(len(shape), channel_axis).items():
        size = shape[axis]
        if not 0 <= start < stop or stop > size != -1:
            limit = "" if size == -1 else f" <= {size}"
            raise InvalidArgument(
                f"{quote(name)}: expected 0 <= start < stop{limit} for a range of dimension {axis}, "
                f"received start {start}, stop {stop}"
            )
    if reduction.takes_figures and any(shape[axis] == 0 for axis in space):
        raise InvalidArgument(f"{quote(name)}: expected at least one place in space, received shape {shape}")


def reduced_shape(reduction: Reduction, shape: tuple[int, ...], channel_axis: int) -> tuple[int, ...]:
    """Return the shape of what is sent for an activation of this shape, all of whose sizes are known."""
    sizes = dict(enumerate(shape))
    for axis, (start, stop) in reduction.ranges(len(shape), channel_axis).items():
        sizes[axis] = stop - start
    if reduction.statistics:
        return sizes[0], FIGURES, sizes[channel_axis]
    if reduction.top:
        sizes[channel_axis] = min(reduction.top, sizes[channel_axis])
    return (sizes[0], sizes[channel_axis]) if reduction.pooling else tuple(sizes.values())


def reduced_dtype(reduction: Reduction, dtype: ElementType) -> ElementType:
    """Return the type of what is sent for an activation of this type."""
    return np.dtype(np.float16) if reduction.half else dtype


def reduced_bytes(reduction: Reduction, shape: tuple[int, ...], channel_axis: int, dtype: ElementType) -> int:
    """Return the bytes that are sent for an activation, the indices of the top channels included."""
    beside = INDEX.itemsize if reduction.top else 0
    element = sent_bytes(reduced_dtype(reduction, dtype)) + beside
    return math.prod(reduced_shape(reduction, shape, channel_axis)) * element
