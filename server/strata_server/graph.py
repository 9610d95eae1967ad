"""The graph of an ONNX file: its nodes and tensors by name, checked, with what is known of every tensor's shape."""

import contextlib
import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx
from onnx import helper

from strata_server.elements import BFLOAT16, STRING, ElementType, held_bytes
from strata_server.errors import ArtifactError, quote

# Far more than any network has, and few enough to be walked in a second.
_MOST_NODES = 100_000
# A constant or an activation of one row that is larger than this is no network but a bomb.
_MOST_TENSOR_BYTES = 8 * 2**30

CONSTANT_WEIGHTS_IR = 4
"""Weights are constants from this format version on, without being inputs as well."""

Size = int | str | None
"""The size of a dimension: a number, the name of one that a request decides, or None where it follows from such."""

Shape = tuple[Size, ...]


@dataclass(frozen=True)
class Tensor:
    """A value of the graph, as far as it is known before anything runs."""

    name: str
    dtype: np.dtype[np.generic] | None
    """None for what has no type here (`elements`), and where inference knows none."""
    shape: Shape | None
    """None where not even the number of dimensions is known."""


class Graph:
    """The nodes of a network in their order, and the tensors between them.

    Subgraphs (If, Loop, Scan) are left whole: a node takes what its subgraphs take from outside.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        """Read a model's graph.

        Raises:
            ArtifactError: it is no graph that can be walked: too large, cyclic, or with tensors that nothing
                computes; the message names the tensor.
        """
        graph = model.graph
        if not graph.node:
            raise ArtifactError("it is not an ONNX model, or one without a network")
        if len(graph.node) > _MOST_NODES:
            raise ArtifactError(f"expected at most {_MOST_NODES} nodes, received {len(graph.node)}")
        _sort(graph)
        self.model = model
        self.nodes: tuple[onnx.NodeProto, ...] = tuple(graph.node)
        self.weights: Mapping[str, onnx.TensorProto] = {tensor.name: tensor for tensor in graph.initializer}
        self.sparse_weights: Mapping[str, onnx.SparseTensorProto] = {
            tensor.values.name: tensor for tensor in graph.sparse_initializer
        }
        constants = {*self.weights, *self.sparse_weights}
        self.inputs: tuple[str, ...] = tuple(info.name for info in graph.input if info.name not in constants)
        """Without the weights, which files of the first format versions list as inputs too."""
        self.outputs: tuple[str, ...] = tuple(info.name for info in graph.output)
        self.takes: tuple[tuple[str, ...], ...] = tuple(tuple(taken(node)) for node in self.nodes)
        """For each node the tensors that it or its subgraphs take."""
        self.producers: Mapping[str, int] = _index_producers(self, constants)
        """For each tensor that a node computes, that node's place."""
        self._tensors = {tensor.name: tensor for tensor in _infer(model, set(self.inputs))}
        self._check_sizes()
        self.varying: frozenset[str] = frozenset(self._varying())
        """The inputs and all that is computed from them; the rest are weights, computed by nodes or not."""

    def tensor(self, name: str) -> Tensor:
        """Return what is known of a tensor."""
        return self._tensors.get(name) or Tensor(name, None, None)

    def tell(self, shapes: Mapping[str, Shape]) -> None:
        """Learn shapes that someone knows better than inference does."""
        for name, shape in shapes.items():
            self._tensors[name] = replace(self.tensor(name), shape=shape)

    def _varying(self) -> Iterator[str]:
        varying = set(self.inputs)
        yield from varying
        random = {"RandomNormal", "RandomUniform"}  # they take nothing, and are no constants for all that
        for node, takes in zip(self.nodes, self.takes, strict=True):
            if node.op_type in random or not varying.isdisjoint(takes):
                computed = [name for name in node.output if name]
                varying.update(computed)
                yield from computed

    def _check_sizes(self) -> None:
        for tensor in self._tensors.values():
            if tensor.shape is None:
                continue
            count = 1
            for size in tensor.shape:
                count *= size if isinstance(size, int) else 1
            itemsize = held_bytes(tensor.dtype) if tensor.dtype else 1
            if count * itemsize > _MOST_TENSOR_BYTES:
                raise ArtifactError(
                    f"its tensor {quote(tensor.name)} has {count * itemsize} bytes; "
                    f"expected at most {_MOST_TENSOR_BYTES}"
                )


def taken(node: onnx.NodeProto) -> Iterator[str]:
    """Give each tensor of the graph that a node takes, in its own inputs or inside a subgraph, once."""
    yield from dict.fromkeys(name for name in (*node.input, *_captured(node)) if name)


def _captured(node: onnx.NodeProto) -> Iterator[str]:
    for attribute in node.attribute:
        graphs = [attribute.g] if attribute.type == onnx.AttributeProto.GRAPH else attribute.graphs
        for graph in graphs:
            yield from _free_names(graph)


def _free_names(graph: onnx.GraphProto) -> Iterator[str]:
    """Give the names that a subgraph uses and does not define."""
    defined = {info.name for info in graph.input} | {tensor.name for tensor in graph.initializer}
    defined |= {tensor.values.name for tensor in graph.sparse_initializer}
    for node in graph.node:
        for name in (*node.input, *_captured(node)):
            if name not in defined:
                yield name
        defined.update(node.output)
    yield from (info.name for info in graph.output if info.name not in defined)


def _sort(graph: onnx.GraphProto) -> None:
    """Bring each node behind those it takes from, as ONNX has it, though onnxruntime takes any order.

    What is in a cycle comes last, as it was.
    """
    givers = {name: place for place, node in enumerate(graph.node) for name in node.output if name}
    needs = [{givers[name] for name in taken(node) if name in givers} for node in graph.node]
    if all(giver < place for place, places in enumerate(needs) for giver in places):
        return
    takers: dict[int, list[int]] = {}
    for place, places in enumerate(needs):
        for giver in places:
            takers.setdefault(giver, []).append(place)
    waiting = [len(places) for places in needs]
    ready = [place for place, count in enumerate(waiting) if not count]
    heapq.heapify(ready)
    order = []
    while ready:
        order.append(heapq.heappop(ready))
        for taker in takers.get(order[-1], ()):
            waiting[taker] -= 1
            if not waiting[taker]:
                heapq.heappush(ready, taker)
    order += [place for place, count in enumerate(waiting) if count]
    nodes = [graph.node[place] for place in order]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def _index_producers(graph: Graph, constants: Iterable[str]) -> dict[str, int]:
    known = {*constants, *graph.inputs}
    computed = {name for node in graph.nodes for name in node.output}
    producers: dict[str, int] = {}
    for place, (node, takes) in enumerate(zip(graph.nodes, graph.takes, strict=True)):
        for name in takes:
            if name in known:
                continue
            operator = f"its node {quote(node.name)} ({quote(node.op_type)}) takes {quote(name)}"
            if name in computed:
                raise ArtifactError(f"{operator}, which follows from it: the graph has a cycle")
            raise ArtifactError(f"{operator}, which nothing computes")
        for name in filter(None, node.output):
            if name in known:
                raise ArtifactError(f"its tensor {quote(name)} is computed twice")
            known.add(name)
            producers[name] = place
    for name in graph.outputs:
        if name not in known:
            raise ArtifactError(f"its output {quote(name)} is computed by nothing")
    return producers


def _infer(model: onnx.ModelProto, inputs: set[str]) -> Iterator[Tensor]:
    """Give all tensors of which something is known."""
    inferred = _infer_shapes(_without_claims(model, inputs))
    claims = {info.name: info for info in (*model.graph.value_info, *model.graph.output)}
    graph = inferred.graph
    for info in (*graph.input, *graph.value_info, *graph.output):
        tensor = _read_tensor(info)
        if info.name in claims and (tensor.dtype is None or tensor.shape is None):
            claim = _read_tensor(claims[info.name])
            shape = claim.shape if tensor.shape is None else tensor.shape
            tensor = replace(tensor, dtype=tensor.dtype or claim.dtype, shape=shape)
        yield tensor
    for weight in model.graph.initializer:
        yield Tensor(weight.name, _read_dtype(weight.data_type), tuple(weight.dims))


def _infer_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    # Where it fails following values beside shapes, shapes alone may do.
    with contextlib.suppress(Exception):  # what it raises on odd graphs has no common class
        return onnx.shape_inference.infer_shapes(model, data_prop=True)
    try:
        return onnx.shape_inference.infer_shapes(model)
    except Exception as error:  # as above
        raise ArtifactError("it is not an ONNX model, or a damaged one") from error


def _without_claims(model: onnx.ModelProto, inputs: set[str]) -> onnx.ModelProto:
    """Return a copy whose inputs have a name for each open size, and that says nothing of what follows from them.

    A file may claim of its tensors what is not so; what enters, onnxruntime holds to the claim.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    # Below this format, inference does not look at weights that are not inputs as well.
    copy.ir_version = max(copy.ir_version, CONSTANT_WEIGHTS_IR)
    del copy.graph.value_info[:]
    for info in copy.graph.output:
        info.type.tensor_type.ClearField("shape")
    for info in copy.graph.input:
        if info.name in inputs:
            for axis, dimension in enumerate(info.type.tensor_type.shape.dim):
                if not dimension.HasField("dim_value") and not dimension.dim_param:
                    dimension.dim_param = f"{info.name}:{axis}"
    return copy


def _read_tensor(info: onnx.ValueInfoProto) -> Tensor:
    kind = info.type.tensor_type
    shape: Shape | None = None
    if kind.HasField("shape"):
        shape = tuple(
            dimension.dim_value if dimension.HasField("dim_value") else dimension.dim_param or None
            for dimension in kind.shape.dim
        )
    return Tensor(info.name, _read_dtype(kind.elem_type), shape)


_SPECIAL: Mapping[int, ElementType] = {onnx.TensorProto.BFLOAT16: BFLOAT16, onnx.TensorProto.STRING: STRING}


def _read_dtype(element: int) -> np.dtype[np.generic] | None:
    """Return the type for an element type of ONNX; None for one that cannot be sent, such as float8 or complex."""
    if element in _SPECIAL:
        return _SPECIAL[element]
    if element not in helper.get_all_tensor_dtypes():
        return None
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(element))
    return dtype if dtype.isbuiltin == 1 and dtype.kind in "biuf" else None
