"""How many bytes of an answer a layer is, before it is asked for."""

from math import prod

from strata_client.catalog import Layer
from strata_client.reductions import NONE, Reduction

_INDEX_BYTES = 4
"""Of a channel's index, which stands beside its value where the top ones are asked."""


def row_bytes(layer: Layer, reduction: Reduction = NONE) -> int:
    """Return the bytes of one row of an activation, reduced; 0 where they are not known."""
    if layer.shape is None or layer.dtype.hasobject:
        return 0
    sizes = _reduce(list(layer.shape), layer.channel_axis, reduction)
    if any(size < 0 for size in sizes):
        return 0
    item = 2 if reduction.half else layer.dtype.itemsize
    return prod(sizes) * (item + _INDEX_BYTES * bool(reduction.top_channels or reduction.top_labels))


def _reduce(sizes: list[int], axis: int, reduction: Reduction) -> list[int]:
    """Return the sizes of what is left of a row, in any order."""
    if not axis:
        return sizes[1:]
    channels, space = sizes[axis], [size for place, size in enumerate(sizes) if place not in {0, axis}]
    if reduction.channels:
        channels = reduction.channels[1] - reduction.channels[0]
    if len(reduction.space) == len(space):
        space = [stop - start for start, stop in reduction.space]
    if reduction.pooling or reduction.statistics:
        space = [5] if reduction.statistics else []
    top = reduction.top_channels or reduction.top_labels
    if top:
        channels = min(top, channels) if channels >= 0 else top
    return [channels, *space]
