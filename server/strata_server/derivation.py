"""The catalog of a file that does not bring its own: every tensor that follows from an input is a layer."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from strata_server.catalog import Catalog, Layer
from strata_server.elements import STRING, is_float
from strata_server.errors import ArtifactError, quote_all
from strata_server.figures import Shapes, count_multiply_adds, count_parameters, measure_depths
from strata_server.geometry import measure_geometry
from strata_server.graph import Graph, Tensor

# Figures travel as 64-bit integers, and are summed up.
_LARGEST_FIGURE = 2**62


def derive_catalog(graph: Graph) -> Catalog:
    """Return the layers of a graph under the names of its tensors: inputs, outputs, and all of floats or text.

    They are ordered by depth, then as in the file. Multiply-adds are for one row: with the first size of every
    input, where it is open, taken as 1. Where all inputs have the same fixed first size n, they are divided by n if
    that leaves no remainder, and are those of n rows otherwise. They are 0 where other sizes are open. What a node
    has whose output is no layer (a quantized one) counts in the first layer that follows from it.

    Raises:
        ArtifactError: there is no input or no output that can be served, an input has a type that cannot be sent, or
            the figures are beyond any network's; the message names the tensors.
    """
    inputs = tuple(dict.fromkeys(graph.inputs))
    _check_inputs(graph, inputs)
    exits = _find_exits(graph)
    listed = [tuple(name for name in node.output if _is_layer(graph, name, exits)) for node in graph.nodes]
    figures = _count(graph, listed)
    depths = measure_depths(graph)
    geometry = measure_geometry(graph)

    def describe(name: str, kind: str, figures: _Figures) -> Layer:
        tensor, place = graph.tensor(name), geometry[name]
        return Layer(
            name=name,
            kind=kind,
            shape=_sizes(tensor),
            dtype=np.dtype(tensor.dtype),
            parameters=figures.parameters,
            multiply_adds=figures.multiply_adds,
            depth=depths[name],
            default_exit=name in exits,
            channel_axis=place.channel_axis,
            receptive_field=place.receptive_field,
        )

    layers = [describe(name, "Input", _NOTHING) for name in inputs]
    for node, names, figure in zip(graph.nodes, listed, figures, strict=True):
        # What the node has counts once, however many layers it computes.
        layers += [describe(name, node.op_type, figure if name == names[0] else _NOTHING) for name in names]
    catalog = Catalog(sorted(layers, key=lambda layer: layer.depth), inputs)
    if max(catalog.parameters, catalog.multiply_adds) > _LARGEST_FIGURE:
        raise ArtifactError("its figures are beyond what any network has")
    return catalog


@dataclass(frozen=True)
class _Figures:
    """What a node has and costs."""

    parameters: int
    multiply_adds: int

    def __add__(self, other: "_Figures") -> "_Figures":
        return _Figures(self.parameters + other.parameters, self.multiply_adds + other.multiply_adds)


_NOTHING = _Figures(0, 0)


def _check_inputs(graph: Graph, inputs: tuple[str, ...]) -> None:
    if not inputs:
        raise ArtifactError("it has no input; expected one at least")
    unknown = [name for name in inputs if graph.tensor(name).dtype is None]
    if unknown:
        raise ArtifactError(
            f"its inputs {quote_all(unknown)} are no tensors of a type that can be sent; "
            "expected numbers, booleans or strings"
        )


def _find_exits(graph: Graph) -> frozenset[str]:
    """Return the outputs that can be served: what is the same for every request is no prediction."""
    exits = frozenset(name for name in graph.outputs if name in graph.varying and graph.tensor(name).dtype is not None)
    if not graph.outputs:
        raise ArtifactError("it has no output; expected one at least")
    if not exits:
        raise ArtifactError(
            f"none of its outputs can be served: {quote_all(graph.outputs)}; "
            "expected a tensor of numbers, booleans or strings that follows from an input"
        )
    return exits


def _is_layer(graph: Graph, name: str, exits: frozenset[str]) -> bool:
    dtype = graph.tensor(name).dtype
    return name in exits or (name in graph.varying and dtype is not None and (is_float(dtype) or dtype == STRING))


def _sizes(tensor: Tensor) -> tuple[int, ...] | None:
    if tensor.shape is None:
        return None
    return tuple(size if isinstance(size, int) and size >= 0 else -1 for size in tensor.shape)


def _count(graph: Graph, listed: list[tuple[str, ...]]) -> list[_Figures]:
    """Return the figures of each node; where nothing that it computes is a layer, the next node has them."""
    parameters = count_parameters(graph)
    shape = _shapes_of_row(graph)
    rows = _fixed_rows(graph)
    next_places = _find_next(graph)
    figures = []
    passed: dict[int, _Figures] = {}
    for place, node in enumerate(graph.nodes):
        count = (count_multiply_adds(node, shape) or 0) if any(name in graph.varying for name in node.output) else 0
        own = _Figures(parameters.get(place, 0), count // rows if count % rows == 0 else count)
        own += passed.pop(place, _NOTHING)
        following = next_places.get(place)
        if not listed[place] and following is not None:
            passed[following] = passed.get(following, _NOTHING) + own
        figures.append(own)
    return figures


def _find_next(graph: Graph) -> Mapping[int, int]:
    """Return for each node that others take from the first that does."""
    following: dict[int, int] = {}
    for place, takes in enumerate(graph.takes):
        for name in takes:
            if name in graph.producers:
                following.setdefault(graph.producers[name], place)
    return following


def _first_sizes(graph: Graph) -> set[int]:
    """Return the first sizes of the inputs that have any; -1 for an open one."""
    shapes = (_sizes(graph.tensor(name)) for name in graph.inputs)
    return {shape[0] for shape in shapes if shape}


def _fixed_rows(graph: Graph) -> int:
    """Return the first size of all inputs where it is the same number, else 1."""
    first = _first_sizes(graph)
    return max(*first, 1) if len(first) == 1 else 1


def _shapes_of_row(graph: Graph) -> Shapes:
    """Return the shapes that the tensors have where every open first size of an input is 1."""
    row = _fix_rows(graph) if -1 in _first_sizes(graph) else graph

    def shape(name: str) -> tuple[int, ...] | None:
        sizes = _known_sizes(row.tensor(name))
        # What one row does not lead to, such as a Reshape to two of them, the graph itself may say.
        return _known_sizes(graph.tensor(name)) if sizes is None else sizes

    return shape


def _fix_rows(graph: Graph) -> Graph:
    """Return the graph for one row: what follows from the rows, such as a size behind a Reshape, is inferred anew."""
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    shapes = [info.type.tensor_type.shape for info in model.graph.input if info.name in graph.inputs]
    names = {shape.dim[0].dim_param for shape in shapes if shape.dim} - {""}
    for shape in shapes:
        for axis, size in enumerate(shape.dim):
            if axis == 0 or size.dim_param in names:
                size.dim_value = max(size.dim_value, 1)
    return Graph(model)


def _known_sizes(tensor: Tensor) -> tuple[int, ...] | None:
    sizes = _sizes(tensor)
    return None if sizes is None or -1 in sizes else sizes
