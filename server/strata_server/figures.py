"""What the nodes of a graph cost and hold: multiply-adds, parameters, and how deep they lie."""

import math
from collections.abc import Callable, Iterator, Mapping

import onnx

from strata_server.attributes import read_int, read_text
from strata_server.elements import is_float
from strata_server.graph import Graph

Shapes = Callable[[str], tuple[int, ...] | None]
"""Gives the shape of a tensor by its name, with every size known; None where it is not known."""

# Operators whose constants are never learned: bounds, scales, borders.
_WITHOUT_PARAMETERS = frozenset({"Clip", "Dropout", "OneHot", "Pad", "Range", "Resize", "Upsample"})
# The places of weights and biases; what else an integer operator takes are scales and zero points, which calibration
# finds.
_QUANTIZED_PARAMETERS: Mapping[str, tuple[int, ...]] = {
    "ConvInteger": (1,),
    "DequantizeLinear": (0,),
    "DynamicQuantizeMatMul": (1, 4),
    "MatMulInteger": (1,),
    "MatMulIntegerToFloat": (1, 6),
    "QGemm": (3, 6),
    "QLinearConv": (3, 8),
    "QLinearMatMul": (3,),
    "QuantizeLinear": (0,),
}
# Numbers that stand in the graph itself, or are computed there from no others.
_SOURCES = frozenset({"Constant", "ConstantOfShape"})


def count_multiply_adds(node: onnx.NodeProto, shape: Shapes) -> int | None:
    """Return the multiplications that are followed by an addition, for tensors of these shapes.

    What is inside the subgraphs of a node (If, Loop, Scan) is not counted.

    Args:
        node: any node; an operator that multiplies and adds nothing has 0.
        shape: of each tensor that the node takes and computes, the batch included.

    Returns:
        None where a shape that it depends on is not known.
    """
    count = _COUNTS.get(node.op_type)
    if count is None:
        return 0
    try:
        return count(node, lambda name: _know(shape(name)))
    except LookupError:  # not known, or of fewer dimensions than the operator can take
        return None


def count_parameters(graph: Graph) -> Mapping[int, int]:
    """Return how many learned numbers each node takes, by the place of the node; those with none are left out.

    They are the floating-point weights of at least one dimension, and the integers that a quantized operator takes
    as weights. A weight that other nodes prepare counts where the result is taken. Each counts once, at the first
    node that uses it, so that the sum is the network's.
    """
    parameters: dict[int, int] = {}
    seen: set[str] = set()
    for place, node in enumerate(graph.nodes):
        if any(name in graph.varying for name in node.output):
            count = _count_within(node) + sum(
                _count_numbers(graph, name) for name in _learned(graph, _parameters_of(graph, place), seen)
            )
            if count:
                parameters[place] = count
    return parameters


def measure_depths(graph: Graph) -> Mapping[str, int]:
    """Return the number of nodes on the longest way from an input to each varying tensor; an input has 0."""
    depths = dict.fromkeys(graph.inputs, 0)
    for node, takes in zip(graph.nodes, graph.takes, strict=True):
        depth = 1 + max((depths.get(name, 0) for name in takes), default=0)
        depths.update((name, depth) for name in node.output if name in graph.varying)
    return depths


_Known = Callable[[str], tuple[int, ...]]


def _know(shape: tuple[int, ...] | None) -> tuple[int, ...]:
    if shape is None:
        raise LookupError
    return shape


def _convolution(weights: int) -> Callable[[onnx.NodeProto, _Known], int]:
    """Count for weights (out, in / groups, ...): each place of the output takes one filter."""
    return lambda node, shape: math.prod(shape(node.output[0])) * math.prod(shape(node.input[weights])[1:])


def _count_transposed_convolution(node: onnx.NodeProto, shape: _Known) -> int:
    """Count for weights (in, out / groups, ...): each place of the input is added to all that it reaches."""
    return math.prod(shape(node.input[0])) * math.prod(shape(node.input[1])[1:])


def _count_product(node: onnx.NodeProto, shape: _Known) -> int:
    """Count for matrices: each place of the output takes one row of the first, batched or not."""
    inner = -2 if read_int(node, "transA", 0) else -1
    return math.prod(shape(node.output[0])) * shape(node.input[0])[inner]


def _count_recurrence(node: onnx.NodeProto, shape: _Known) -> int:
    """Count for (steps, rows, features): each step of each row takes all weights of all gates and directions."""
    sequence = shape(node.input[0])
    if len(sequence) != 3:
        raise LookupError
    return math.prod(sequence[:2]) * sum(math.prod(shape(name)) for name in node.input[1:3])


def _count_attention(node: onnx.NodeProto, shape: _Known) -> int:
    """Count scores and sums: each number of a query, and each of a result, meets every key."""
    keys = shape(node.input[1])[-2]
    if len(node.input) > 4 and node.input[4]:
        keys += shape(node.input[4])[-2]
    return (math.prod(shape(node.input[0])) + math.prod(shape(node.output[0]))) * keys


def _count_einsum(node: onnx.NodeProto, shape: _Known) -> int:
    """Count one for each combination of all indices, where some are summed over and there is something to multiply."""
    terms, arrow, result = read_text(node, "equation", "").replace(" ", "").partition("->")
    sizes: dict[str, int] = {}
    for term, name in zip(terms.split(","), node.input, strict=False):
        for label, size in _label(term, shape(name)):
            sizes[label] = max(size, sizes.get(label, 1))
    letters = [label for label in terms if label.isalpha()]
    kept = set(result) if arrow else {label for label in letters if letters.count(label) == 1}
    return math.prod(sizes.values()) if len(node.input) > 1 and set(letters) - kept else 0


def _label(term: str, shape: tuple[int, ...]) -> Iterator[tuple[str, int]]:
    """Give each dimension of a term of an Einsum its letter; those under the dots are numbered from the right."""
    before, _, after = term.partition("...")
    yield from zip(before, shape, strict=False)
    yield from zip(reversed(after), reversed(shape), strict=False)
    hidden = shape[len(before) : len(shape) - len(after)] if "..." in term else ()
    yield from ((str(place), size) for place, size in enumerate(reversed(hidden)))


_COUNTS: Mapping[str, Callable[[onnx.NodeProto, _Known], int]] = {
    "Attention": _count_attention,
    "Conv": _convolution(1),
    "ConvInteger": _convolution(1),
    "ConvTranspose": _count_transposed_convolution,
    "DeformConv": _convolution(1),
    "DynamicQuantizeMatMul": _count_product,
    "Einsum": _count_einsum,
    "FusedConv": _convolution(1),
    "FusedGemm": _count_product,
    "FusedMatMul": _count_product,
    "GRU": _count_recurrence,
    "Gemm": _count_product,
    "LSTM": _count_recurrence,
    "MatMul": _count_product,
    "MatMulInteger": _count_product,
    "MatMulIntegerToFloat": _count_product,
    "MatMulNBits": _count_product,
    "QGemm": _count_product,
    "QLinearConv": _convolution(3),
    "QLinearMatMul": _count_product,
    "RNN": _count_recurrence,
}


def _parameters_of(graph: Graph, place: int) -> Iterator[str]:
    """Give what a node takes that may be learned."""
    node = graph.nodes[place]
    if node.op_type in _QUANTIZED_PARAMETERS:
        yield from (node.input[taken] for taken in _QUANTIZED_PARAMETERS[node.op_type] if taken < len(node.input))
    elif node.op_type not in _WITHOUT_PARAMETERS:
        yield from (name for name in graph.takes[place] if _is_float(graph, name))


def _learned(graph: Graph, names: Iterator[str], seen: set[str]) -> Iterator[str]:
    """Give the weights, not seen before, that these tensors are or are prepared from."""
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if not name or name in seen or name in graph.varying:
            continue
        seen.add(name)
        place = graph.producers.get(name)
        if place is None or graph.nodes[place].op_type in _SOURCES:
            yield name
        else:
            waiting.extend(_parameters_of(graph, place))


def _count_numbers(graph: Graph, name: str) -> int:
    """Return the size of a weight; a single number is no weight but part of a formula."""
    if name in graph.sparse_weights:
        return math.prod(graph.sparse_weights[name].dims)
    shape = graph.tensor(name).shape
    if not shape:
        return 0
    return math.prod(size if isinstance(size, int) else 0 for size in shape)


def _count_within(node: onnx.NodeProto) -> int:
    """Return the learned numbers that stand in a node's own subgraphs."""
    waiting = list(node.attribute)
    count = 0
    while waiting:
        attribute = waiting.pop()
        for graph in (attribute.g, *attribute.graphs):
            count += sum(
                math.prod(weight.dims) for weight in graph.initializer if weight.dims and weight.data_type in _FLOATS
            )
            waiting.extend(inner for inside in graph.node for inner in inside.attribute)
    return count


_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)


def _is_float(graph: Graph, name: str) -> bool:
    if name in graph.sparse_weights:
        return graph.sparse_weights[name].values.data_type in _FLOATS
    if name in graph.weights:
        return graph.weights[name].data_type in _FLOATS
    dtype = graph.tensor(name).dtype
    return dtype is not None and is_float(dtype)
