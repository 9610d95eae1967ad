"""The sizes of a slice's tensors, for a request whose own shapes are known."""

from collections.abc import Callable, Mapping

import onnx

from strata_server.errors import InvalidArgument, quote
from strata_server.graph import Graph
from strata_server.slicing import Part, Slicer

Known = tuple[int, ...] | None
"""A shape; None where it follows from values, and only the run tells."""


class Shapes:
    """Tells the shapes between given entries and exits."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def resolve(self, part: Part, entries: Mapping[str, tuple[int, ...]]) -> Callable[[str], Known]:
        """Return what tells the shape of each tensor of a part.

        Args:
            part: what will run.
            entries: the shape of each value that enters; a size that the graph fixes is as it says.

        Raises:
            InvalidArgument: two entries contradict each other in a size they share, such as the rows, or the
                network cannot compute anything of such shapes.
        """
        sizes = self._bind(entries)
        inferred: dict[str, Known] | None = None

        def tell(name: str) -> Known:
            nonlocal inferred
            if name in entries:
                return entries[name]
            shape = self._graph.tensor(name).shape
            found = None if shape is None else [size if isinstance(size, int) else sizes.get(size) for size in shape]
            if found is not None and None not in found:
                return tuple(size for size in found if size is not None)
            if inferred is None:
                inferred = self._infer(part, entries)
            return inferred.get(name)

        return tell

    def _bind(self, entries: Mapping[str, tuple[int, ...]]) -> dict[str | None, int]:
        bound: dict[str | None, int] = {}
        for name, shape in entries.items():
            for size, received in zip(self._graph.tensor(name).shape or (), shape, strict=False):
                if isinstance(size, str) and bound.setdefault(size, received) != received:
                    raise InvalidArgument(
                        f"expected the same size {quote(size)} in each value, "
                        f"received {bound[size]} and, in {quote(name)}, {received}"
                    )
        return bound

    def _infer(self, part: Part, entries: Mapping[str, tuple[int, ...]]) -> dict[str, Known]:
        """Infer anew from these very shapes: how open sizes follow from each other, the graph does not say."""
        model = Slicer(self._graph).cut(part)
        for info in model.graph.input:
            del info.type.tensor_type.shape.dim[:]
            for size in entries[info.name]:
                info.type.tensor_type.shape.dim.add(dim_value=size)
        try:
            graph = onnx.shape_inference.infer_shapes(model, data_prop=True, strict_mode=True).graph
        except onnx.shape_inference.InferenceError as error:
            shapes = ", ".join(f"{quote(name)} {entries[name]}" for name in sorted(part.slice.entries))
            raise InvalidArgument(f"the network has no result for inputs of these shapes: {shapes}") from error
        return {info.name: _read_shape(info) for info in (*graph.value_info, *graph.output)}


def _read_shape(info: onnx.ValueInfoProto) -> Known:
    shape = info.type.tensor_type.shape
    if not info.type.tensor_type.HasField("shape") or not all(size.HasField("dim_value") for size in shape.dim):
        return None
    return tuple(size.dim_value for size in shape.dim)
