"""What the dimensions of the tensors of a graph mean: which counts the channels, and what of the input a place sees."""

from collections.abc import Mapping
from dataclasses import dataclass

from strata_server.catalog import ReceptiveField
from strata_server.graph import Graph
from strata_server.layouts import find_layouts, rank_of
from strata_server.windows import View, find_views


@dataclass(frozen=True)
class Geometry:
    """What the dimensions of a tensor mean."""

    channel_axis: int
    """The dimension that counts its channels; 0 where none is known."""
    receptive_field: ReceptiveField | None
    """For its dimensions of space in their order; None where no fixed window of one input is seen."""


def measure_geometry(graph: Graph) -> Mapping[str, Geometry]:
    """Return the geometry of each input and each tensor that follows from one."""
    layouts = find_layouts(graph)
    views = find_views(graph, layouts)

    def measure(name: str) -> Geometry:
        layout = layouts.get(name)
        # Without an image, rows have features.
        channel_axis = layout.channels if layout else int(rank_of(graph, name) == 2)
        return Geometry(channel_axis, _receptive_field(views.get(name, ())))

    return {name: measure(name) for name in graph.varying}


def _receptive_field(view: View) -> ReceptiveField | None:
    windows = [window for window in view if window is not None]
    if not windows:
        return None
    return ReceptiveField(tuple(window.size for window in windows), tuple(window.stride for window in windows))
