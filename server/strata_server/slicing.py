"""Which part of a network lies between some entries and exits, and that part as a graph of its own."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from strata_server.errors import InvalidArgument, quote_all
from strata_server.graph import CONSTANT_WEIGHTS_IR, Graph, Tensor
from strata_server.transposes import move_transposes


@dataclass(frozen=True)
class Slice:
    """The part of a network between its entries and its exits, by their names."""

    entries: frozenset[str]
    exits: frozenset[str]

    @classmethod
    def between(cls, entries: Iterable[str], exits: Iterable[str]) -> "Slice":
        """Return the slice from these entries to these exits."""
        return cls(frozenset(entries), frozenset(exits))


@dataclass(frozen=True, eq=False)
class Part:
    """What of a graph a slice holds."""

    slice: Slice
    """With those of the entries alone that the exits depend on."""
    nodes: tuple[int, ...]
    """Their places in the graph."""
    weights: tuple[str, ...]
    shapes: Mapping[int, tuple["Source", ...]]
    """For each node of the slice that asks for a shape alone: how its answer follows from the entries."""


@dataclass(frozen=True)
class Source:
    """Where the size of a dimension is known from: a dimension of an entry, or a number where there is none."""

    entry: str | None
    number: int
    """The dimension of the entry; the size itself without one."""


class Slicer:
    """Finds and cuts slices of one graph."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def find(self, entries: Collection[str], exits: Collection[str]) -> Part:
        """Return the smallest part that computes the exits from the entries.

        A node that wants to know only the shape of a tensor does not need the tensor, where the shape follows
        from those of the entries: a flatten that asks the network's input for the batch size is no way to it.

        Raises:
            InvalidArgument: the entries do not determine the exits, with the inputs that are missing.
        """
        walk = _Walk(self._graph, entries)
        walk.run(exits)
        if walk.missing:
            raise InvalidArgument(
                f"{_list(entries)} {'does' if len(entries) == 1 else 'do'} not determine {_list(exits)}: "
                f"expected a value for the input {quote_all(sorted(walk.missing))} as well"
                if entries
                else f"expected a value for the input {quote_all(sorted(walk.missing))}, received none"
            )
        part = Slice.between(walk.used, exits)
        return Part(part, tuple(sorted(walk.nodes)), tuple(sorted(walk.weights)), walk.shapes)

    def cut(self, part: Part) -> onnx.ModelProto:
        """Return a part as a model; its large weights lie where those of the graph do."""
        whole = self._graph.model
        model = onnx.ModelProto(ir_version=max(whole.ir_version, CONSTANT_WEIGHTS_IR))
        model.opset_import.extend(whole.opset_import)
        model.functions.extend(whole.functions)
        graph = model.graph
        graph.name = "slice"
        inputs = {info.name: info for info in whole.graph.input}
        for name in sorted(part.slice.entries):
            graph.input.append(inputs.get(name) or _value_info(self._graph.tensor(name)))
        graph.output.extend(_value_info(self._graph.tensor(name)) for name in sorted(part.slice.exits))
        for name in part.weights:
            if name in self._graph.weights:
                graph.initializer.append(self._graph.weights[name])
            else:
                graph.sparse_initializer.append(self._graph.sparse_weights[name])
        for place in part.nodes:
            node = self._graph.nodes[place]
            graph.node.extend(_tell_shape(node, part.shapes[place]) if place in part.shapes else [node])
        move_transposes(model, self._graph)
        return model


class _Walk:
    """The way back from exits to entries."""

    def __init__(self, graph: Graph, entries: Collection[str]) -> None:
        self._graph = graph
        self._entries = entries
        self._seen: set[str] = set()
        self.used: set[str] = set()
        self.nodes: set[int] = set()
        self.weights: set[str] = set()
        self.missing: set[str] = set()
        self.shapes: dict[int, tuple[Source, ...]] = {}

    def run(self, exits: Iterable[str]) -> None:
        """Follow each exit back to entries, weights and inputs that are missing."""
        open_names = [name for name in exits if name not in self._entries]
        asking: list[int] = []  # nodes that want to know a shape
        while open_names:
            asking += self._follow(open_names)
            # Only now is known which tensors are there anyway; what is left may do without.
            open_names = [name for place in asking for name in self._ask(place)]
            asking = []

    def _follow(self, open_names: list[str]) -> list[int]:
        asking = []
        while open_names:
            name = open_names.pop()
            if name in self._seen:
                continue
            self._seen.add(name)
            if name in self._entries:
                self.used.add(name)
            elif name in self._graph.producers:
                place = self._graph.producers[name]
                if place in self.nodes:
                    continue
                self.nodes.add(place)
                if _is_shape(self._graph.nodes[place]):
                    asking.append(place)
                else:
                    open_names.extend(self._graph.takes[place])
            elif name in self._graph.inputs:
                self.missing.add(name)
            else:
                self.weights.add(name)
        return asking

    def _ask(self, place: int) -> list[str]:
        """Settle how a shape becomes known; return the tensors that are needed for it after all."""
        node = self._graph.nodes[place]
        name = node.input[0]
        if name in self._seen or name in self._entries or name not in self._graph.varying:
            return [name]
        sources = self._trace_shape(self._graph.tensor(name))
        if sources is None:
            return [name]
        self.used.update(source.entry for source in sources if source.entry is not None)
        self.shapes[place] = sources
        return []

    def _trace_shape(self, tensor: Tensor) -> tuple[Source, ...] | None:
        if tensor.shape is None:
            return None
        sizes = self._open_sizes()
        sources = [Source(None, size) if isinstance(size, int) else sizes.get(size) for size in tensor.shape]
        return None if None in sources else tuple(source for source in sources if source)

    def _open_sizes(self) -> Mapping[str | None, Source]:
        """Return where each open size is known from; an entry that is needed anyway comes first."""
        found: dict[str | None, Source] = {}
        for name in sorted(self._entries, key=lambda name: (name not in self.used, name)):
            for axis, size in enumerate(self._graph.tensor(name).shape or ()):
                if isinstance(size, str):
                    found.setdefault(size, Source(name, axis))
        return found


def _is_shape(node: onnx.NodeProto) -> bool:
    return node.op_type == "Shape" and node.domain in {"", "ai.onnx"}


def _tell_shape(node: onnx.NodeProto, sources: Sequence[Source]) -> Iterator[onnx.NodeProto]:
    """Give nodes that compute what a Shape node does, without the tensor that it asks."""
    bounds = {attribute.name: attribute.i for attribute in node.attribute}
    sources = sources[bounds.get("start", 0) : bounds.get("end", len(sources))]
    output = node.output[0]
    pieces = []
    for place, source in enumerate(sources):
        pieces.append(f"{output}//size_{place}")
        if source.entry is None:
            yield _constant(pieces[-1], source.number)
            continue
        shape, axis = f"{output}//shape_{place}", f"{output}//axis_{place}"
        yield helper.make_node("Shape", [source.entry], [shape])
        yield _constant(axis, source.number)
        yield helper.make_node("Gather", [shape, axis], [pieces[-1]], axis=0)
    if pieces:
        yield helper.make_node("Concat", pieces, [output], axis=0)
    else:
        yield helper.make_node("Constant", [], [output], value=numpy_helper.from_array(np.zeros(0, np.int64)))


def _constant(name: str, number: int) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.array([number], np.int64)))


def _value_info(tensor: Tensor) -> onnx.ValueInfoProto:
    element = helper.np_dtype_to_tensor_dtype(tensor.dtype) if tensor.dtype else onnx.TensorProto.UNDEFINED
    return helper.make_tensor_value_info(tensor.name, element, tensor.shape)


def _list(names: Collection[str]) -> str:
    return quote_all(sorted(names))
