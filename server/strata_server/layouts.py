"""Where the channels and the rows of the tensors of a graph lie.

Operators of images have rows and channels first, and what is laid out like their tensors follows from them, forward
and backward.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import onnx

from strata_server.attributes import read_ints
from strata_server.graph import Graph, Shape, Size

# What these compute stands where its number stood: broadcast, but not moved.
POINTWISE = frozenset(
    """
    Abs Acos Acosh Add And Asin Asinh Atan Atanh BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil Celu
    Clip Cos Cosh DequantizeLinear Div Dropout Elu Equal Erf Exp Expand FastGelu Floor Gelu Greater GreaterOrEqual
    HardSigmoid HardSwish Identity IsInf IsNaN LRN LabelEncoder LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mod
    Mul Neg Not Or PRelu Pow QuantizeLinear QuickGelu Reciprocal RegexFullMatch Relu Round Selu Shrink Sigmoid Sign Sin
    Sinh Softplus Softsign Sqrt StringConcat Sub Sum Swish Tan Tanh ThresholdedRelu Where Xor
    """.split()  # noqa: SIM905 - a name a line would fill pages
)
REDUCING = frozenset(
    """
    ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare
    """.split()  # noqa: SIM905 - as above
)
# Of what these take, rows and channels come first.
_CHANNELS_SECOND = frozenset(
    """
    AveragePool BatchNormalization Conv ConvInteger ConvTranspose DeformConv DepthToSpace FusedConv
    GlobalAveragePool GlobalLpPool GlobalMaxPool GroupNormalization InstanceNormalization LRN LpPool MaxPool
    MaxRoiPool QLinearConv SpaceToDepth
    """.split()  # noqa: SIM905 - a name a line would fill pages
)
# Their results are laid out as what they take, whatever they see of it.
_KEEPING = (
    POINTWISE
    | REDUCING
    | _CHANNELS_SECOND
    | frozenset(
        """
        Concat CumSum Gather Hardmax LayerNormalization LogSoftmax LpNormalization MeanVarianceNormalization Pad
        RMSNormalization Resize Slice Softmax Split Upsample
        """.split()  # noqa: SIM905 - as above
    )
)
_MOVING = frozenset({"Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})

Axes = tuple[int | None, ...]
"""For each axis of one tensor that axis of another which is the same."""


@dataclass(frozen=True)
class Layout:
    """Which axis of a tensor counts its rows, and which its channels."""

    rows: int
    channels: int

    def moved(self, axes: Axes) -> "Layout | None":
        """Return the layout of the other tensor; None where it has not both of these axes."""
        rows, channels = axes[self.rows], axes[self.channels]
        return None if rows is None or channels is None else Layout(rows, channels)


_CHANNELS_FIRST = Layout(rows=0, channels=1)


def find_layouts(graph: Graph) -> Mapping[str, Layout]:
    """Return the layouts that follow from the operators, the surest first; a tensor's first one stays."""
    links: dict[str, list[tuple[str, Axes]]] = {}
    for node in graph.nodes:
        for before, after, axes in _links(graph, node):
            links.setdefault(before, []).append((after, axes))
            links.setdefault(after, []).append((before, _inverse(axes, rank_of(graph, after) or 0)))
    layouts: dict[str, Layout] = {}
    sure = [name for node in graph.nodes for name in _channels_second(graph, node)]
    _spread(layouts, links, ((name, _CHANNELS_FIRST) for name in sure))
    for node in graph.nodes:
        # A dense layer counts its features last.
        name = node.input[0] if is_dense(graph, node) else ""
        rank = rank_of(graph, name) or 0
        if rank > 2 and name in graph.varying:
            _spread(layouts, links, [(name, Layout(0, rank - 1))])
    return layouts


def _spread(
    layouts: dict[str, Layout], links: Mapping[str, list[tuple[str, Axes]]], found: Iterable[tuple[str, Layout]]
) -> None:
    waiting = deque(found)
    while waiting:
        name, layout = waiting.popleft()
        if name in layouts:
            continue
        layouts[name] = layout
        for other, axes in links.get(name, ()):
            moved = layout.moved(axes)
            if moved is not None and other not in layouts:
                waiting.append((other, moved))


def _channels_second(graph: Graph, node: onnx.NodeProto) -> Iterator[str]:
    if node.op_type in _CHANNELS_SECOND:
        for name in (*node.input[:1], *node.output[:1]):
            if name in graph.varying and (rank_of(graph, name) or 0) > 1:
                yield name


def is_dense(graph: Graph, node: onnx.NodeProto) -> bool:
    """Whether a node multiplies the last axis of what it takes by a matrix of weights."""
    if node.op_type != "MatMul" or len(node.input) < 2:
        return False
    weights = node.input[1]
    return weights not in graph.varying and rank_of(graph, weights) == 2


def _links(graph: Graph, node: onnx.NodeProto) -> Iterator[tuple[str, str, Axes]]:
    """Give the tensors that a node takes and computes with axes that are the same."""
    if node.op_type in _MOVING:
        if node.input[:1] and node.input[0] in graph.varying and any(node.output[:1]):
            yield node.input[0], node.output[0], trace_axes(graph, node)
        return
    if node.op_type not in _KEEPING and not is_dense(graph, node):
        return
    combined = node.op_type in POINTWISE or node.op_type == "Concat"
    for before in node.input if combined else node.input[:1]:
        rank = rank_of(graph, before)
        if before in graph.varying and rank is not None:
            same = tuple(range(rank))
            yield from ((before, after, same) for after in node.output if after and rank_of(graph, after) == rank)


def _inverse(axes: Axes, rank: int) -> Axes:
    back: list[int | None] = [None] * rank
    for before, after in enumerate(axes):
        if after is not None:
            back[after] = before
    return tuple(back)


def trace_axes(graph: Graph, node: onnx.NodeProto) -> Axes:
    """Return where a Transpose, or what gives a tensor other sizes (a Reshape, a Flatten), puts each axis it takes."""
    before, after = graph.tensor(node.input[0]).shape, graph.tensor(node.output[0]).shape
    if before is None or after is None:
        return (None,) * len(before or ())
    if node.op_type != "Transpose":
        return _regrouped_axes(before, after)
    order = read_ints(node, "perm") or tuple(reversed(range(len(before))))
    if sorted(order) != list(range(len(before))) or len(after) != len(before):
        return (None,) * len(before)
    return _inverse(order, len(before))


def _regrouped_axes(before: Shape, after: Shape) -> Axes:
    """Return which axes stay themselves where the same numbers, in the same order, get other sizes.

    Those are the same from the first on, and from the last on: what lies between then holds equally many numbers.
    Between them axes may move past such of size 1.
    """
    same = _comparison(before, after)
    shorter = min(len(before), len(after))
    head = next((axis for axis in range(shorter) if not same(before[axis], after[axis])), shorter)
    most = shorter - head
    tail = next((axis for axis in range(most) if not same(before[-1 - axis], after[-1 - axis])), most)
    axes: list[int | None] = [None] * len(before)
    axes[:head] = range(head)
    axes[len(before) - tail :] = range(len(after) - tail, len(after))
    between = range(head, len(before) - tail), range(head, len(after) - tail)
    for of_size_1 in (False, True):
        sources = [axis for axis in between[0] if (before[axis] == 1) == of_size_1]
        targets = [axis for axis in between[1] if (after[axis] == 1) == of_size_1]
        if len(sources) != len(targets):
            break
        if not all(same(before[source], after[target]) for source, target in zip(sources, targets, strict=True)):
            break
        for source, target in zip(sources, targets, strict=True):
            axes[source] = target
    return tuple(axes)


def _comparison(before: Shape, after: Shape) -> Callable[[Size, Size], bool]:
    """Return what tells whether two sizes are the same, one open size on either side included if all else is."""
    fixed = [[size for size in shape if isinstance(size, int)] for shape in (before, after)]
    one_open = len(before) - len(fixed[0]) == len(after) - len(fixed[1]) == 1
    rest_is_same = math.prod(fixed[0]) == math.prod(fixed[1])

    def same(one: Size, other: Size) -> bool:
        if isinstance(one, int) or isinstance(other, int):
            return one == other
        return (one_open and rest_is_same) or (one is not None and one == other)

    return same


def rank_of(graph: Graph, name: str) -> int | None:
    """Return the number of axes of a tensor; None where it is not known."""
    shape = graph.tensor(name).shape
    return None if shape is None else len(shape)
