"""Whether the rows of a batch are independent: only then may rows of several requests run together."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx

from strata_server.attributes import read_given_ints, read_int, read_ints
from strata_server.graph import Graph
from strata_server.layouts import POINTWISE, REDUCING, rank_of, trace_axes
from strata_server.slicing import Part

# Each place of what these compute depends on the same row of their first input; the others must be constants.
_ROW_BY_ROW = frozenset(
    """
    AveragePool BatchNormalization Conv ConvInteger ConvTranspose DepthToSpace FusedConv GlobalAveragePool GlobalLpPool
    GlobalMaxPool GroupNormalization InstanceNormalization LRN LpPool MaxPool QLinearConv QLinearGlobalAveragePool
    QLinearLeakyRelu QLinearSigmoid SpaceToDepth
    """.split()  # noqa: SIM905 - a name a line would fill pages
)
# An axis of their first input is treated as one; what they take it to be where nothing is said.
_ALONG_AXIS: Mapping[str, int] = {
    "ArgMax": 0,
    "ArgMin": 0,
    "Gather": 0,
    "Hardmax": -1,
    "LayerNormalization": -1,
    "LogSoftmax": -1,
    "LpNormalization": -1,
    "RMSNormalization": -1,
    "Softmax": -1,
    "Split": 0,
    "TopK": -1,
}
_FLATTENING = frozenset({"Hardmax", "LogSoftmax", "Softmax"})  # up to opset 12 all axes from theirs on are one
_FLATTENED_AXIS = 1
_MOVING = frozenset({"Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
_SIZES = frozenset({"Shape", "Size"})
_MIXING = frozenset({"Dropout"})  # pointwise, but for a mode in which it is random
_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})


def are_independent(graph: Graph, part: Part) -> bool:
    """Say whether each row of a part's exits depends on the same row of its entries alone.

    Whatever is not known to be so counts as dependent: an operator that is not listed here, a shape that nobody knows,
    a number of rows that is fixed.
    """
    if not all(_is_open(graph, name) for name in part.slice.entries):
        return False
    walk = _Walk(graph, set(part.slice.entries))
    for place in part.nodes:
        walk.take(graph.nodes[place], is_size=place in part.shapes)
    return part.slice.exits <= walk.by_rows


def _is_open(graph: Graph, name: str) -> bool:
    shape = graph.tensor(name).shape
    return bool(shape) and not isinstance(shape[0] if shape else 0, int)


class _Walk:
    """Goes through nodes in their order, and notes whose first axis counts the rows, each computed by itself."""

    def __init__(self, graph: Graph, entries: set[str]) -> None:
        self._graph = graph
        self.by_rows = entries
        self._sizes: set[str] = set()
        """What depends on the number of rows, and on none of their values."""
        self._constant: set[str] = set()
        """What nodes of the part compute from constants alone."""

    def take(self, node: onnx.NodeProto, *, is_size: bool) -> None:
        outputs = {name for name in node.output if name}
        taken = [name for name in node.input if name]
        if is_size or (node.op_type in _SIZES and node.domain in _DOMAINS):
            self._sizes |= outputs
        elif node.domain not in _DOMAINS or any(attribute.g.node for attribute in node.attribute):
            return
        elif taken and all(self.is_constant(name) for name in taken):
            self._constant |= outputs
        elif taken and all(name in self._sizes or self.is_constant(name) for name in taken):
            self._sizes |= outputs
        elif self._is_row_by_row(node):
            self.by_rows |= outputs

    def is_constant(self, name: str) -> bool:
        return not name or name in self._constant or name not in self._graph.varying

    def rank(self, name: str) -> int | None:
        return rank_of(self._graph, name)

    def _is_row_by_row(self, node: onnx.NodeProto) -> bool:
        rule = _find_rule(node.op_type)
        try:
            return rule is not None and rule(_Step(self._graph, self, node))
        except LookupError:  # axes that are no constants
            return False


@dataclass(frozen=True)
class _Step:
    """One node, and what is known of what it takes."""

    graph: Graph
    walk: _Walk
    node: onnx.NodeProto

    @property
    def rank(self) -> int:
        """Of the first input; LookupError where it is not known."""
        rank = self.walk.rank(self.node.input[0])
        if rank is None:
            raise LookupError
        return rank

    def is_by_rows(self, place: int) -> bool:
        return place < len(self.node.input) and self.node.input[place] in self.walk.by_rows

    def are_constant(self, start: int) -> bool:
        return all(self.walk.is_constant(name) for name in self.node.input[start:])

    def is_first(self, axis: int) -> bool:
        """Whether an axis is that of the rows, or may be."""
        return axis in {0, -self.rank}


_Rule = Callable[[_Step], bool]


def _find_rule(operator: str) -> _Rule | None:
    if operator in _RULES:
        return _RULES[operator]
    if operator in _ROW_BY_ROW:
        return _is_first_alone
    if operator in _ALONG_AXIS:
        return _is_along_other_axis
    if operator in REDUCING:
        return _reduces_other_axes
    if operator in _MOVING:
        return _keeps_first_axis
    return _is_pointwise if operator in POINTWISE - _MIXING else None


def _is_first_alone(step: _Step) -> bool:
    return step.is_by_rows(0) and step.are_constant(1)


def _is_batch_normalization(step: _Step) -> bool:
    return _is_first_alone(step) and not read_int(step.node, "training_mode", 0)


def _is_pool(step: _Step) -> bool:
    # The second output of MaxPool counts places through all rows.
    return _is_first_alone(step) and len([name for name in step.node.output if name]) == 1


def _is_dropout(step: _Step) -> bool:
    return step.is_by_rows(0) and len(step.node.input) < 3


def _is_pointwise(step: _Step) -> bool:
    rank = step.walk.rank(step.node.output[0])
    return rank is not None and all(_fits(step, name, rank) for name in step.node.input)


def _fits(step: _Step, name: str, rank: int) -> bool:
    """Whether an operand is broadcast so that each of its rows meets the same row of the others."""
    if name in step.walk.by_rows:
        return step.walk.rank(name) == rank
    if not step.walk.is_constant(name):
        return False
    if not name:
        return True
    shape = step.graph.tensor(name).shape
    return shape is not None and (len(shape) < rank or (len(shape) == rank and shape[0] == 1))


def _is_quantized(step: _Step) -> bool:
    return _is_pointwise(step) and not step.is_first(read_int(step.node, "axis", 1))


def _is_expanded(step: _Step) -> bool:
    before, after = (step.graph.tensor(name).shape for name in (step.node.input[0], step.node.output[0]))
    return step.is_by_rows(0) and bool(before and after and len(before) == len(after)) and _keeps_size(step)


def _keeps_size(step: _Step) -> bool:
    """Whether as many rows leave as enter, by the name of their number."""
    before, after = (step.graph.tensor(name).shape for name in (step.node.input[0], step.node.output[0]))
    return step.is_by_rows(0) and bool(before and after and before[0] is not None and before[0] == after[0])


def _keeps_first_axis(step: _Step) -> bool:
    if not step.is_by_rows(0):
        return False
    axes = trace_axes(step.graph, step.node)
    return bool(axes) and axes[0] == 0


def _is_along_other_axis(step: _Step) -> bool:
    operator = step.node.op_type
    flattens = operator in _FLATTENING and _opset(step.graph) < 13
    axis = read_int(step.node, "axis", _FLATTENED_AXIS if flattens else _ALONG_AXIS[operator])
    return _is_first_alone(step) and not step.is_first(axis)


def _reduces_other_axes(step: _Step) -> bool:
    axes = read_given_ints(step.graph, step.node, "axes", 1)
    return step.is_by_rows(0) and bool(axes) and not any(map(step.is_first, axes))


def _is_concat(step: _Step) -> bool:
    axis = read_int(step.node, "axis", 0)
    return all(map(step.is_by_rows, range(len(step.node.input)))) and not step.is_first(axis)


def _is_slice(step: _Step) -> bool:
    axes = read_given_ints(step.graph, step.node, "axes", 3)
    return _is_first_alone(step) and bool(axes) and not any(map(step.is_first, axes))


def _is_pad(step: _Step) -> bool:
    pads = read_given_ints(step.graph, step.node, "pads", 1)
    if len(step.node.input) > 3 and step.node.input[3]:
        return False
    return _is_first_alone(step) and len(pads) == 2 * step.rank and not pads[0] and not pads[step.rank]


def _is_tile(step: _Step) -> bool:
    repeats = read_given_ints(step.graph, step.node, "repeats", 1)
    return step.is_by_rows(0) and bool(repeats) and repeats[0] == 1


def _is_gemm(step: _Step) -> bool:
    if read_int(step.node, "transA", 0) or not _is_first_alone(step):
        return False
    return len(step.node.input) < 3 or _fits(step, step.node.input[2], 2)


def _is_product(step: _Step) -> bool:
    ranks = [step.walk.rank(name) for name in step.node.input[:2]]
    if step.is_by_rows(0) and step.is_by_rows(1):
        return ranks[0] == ranks[1] and (ranks[0] or 0) > 2
    return _is_first_alone(step) and (ranks[0] or 0) > 1 and ranks[1] in {1, 2}


def _is_mean_variance(step: _Step) -> bool:
    axes = read_ints(step.node, "axes")
    return step.is_by_rows(0) and bool(axes) and not any(map(step.is_first, axes))


def _opset(graph: Graph) -> int:
    return next((entry.version for entry in graph.model.opset_import if entry.domain in {"", "ai.onnx"}), 1)


_RULES: Mapping[str, _Rule] = {
    "BatchNormalization": _is_batch_normalization,
    "Concat": _is_concat,
    "DequantizeLinear": _is_quantized,
    "Dropout": _is_dropout,
    "Expand": _is_expanded,
    "Gemm": _is_gemm,
    "MatMul": _is_product,
    "MaxPool": _is_pool,
    "MeanVarianceNormalization": _is_mean_variance,
    "Pad": _is_pad,
    "QLinearMatMul": _is_first_alone,
    "QuantizeLinear": _is_quantized,
    "Resize": lambda step: step.are_constant(1) and _keeps_size(step),
    "Slice": _is_slice,
    "Tile": _is_tile,
    "Upsample": lambda step: step.are_constant(1) and _keeps_size(step),
}
