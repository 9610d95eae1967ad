"""Where the tensors of a graph have their channels, and what of the input each of their places sees.

First the layouts: operators of images have rows and channels first, and what is laid out like their tensors follows
from them, forward and backward. Then the windows, forward from the inputs, one for each dimension of space.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import onnx
from onnx import numpy_helper

from strata_server.catalog import ReceptiveField
from strata_server.graph import Graph, Shape

# A window beyond this is of no image, and numbers would grow without end in a long chain of hostile strides.
_FARTHEST = 2**31
# Twice as many numbers, for instance, as a Pad has for all axes.
_MOST_AXES = 1000


@dataclass(frozen=True)
class Geometry:
    """What the dimensions of a tensor mean."""

    channel_axis: int
    """The dimension that counts its channels; 0 where none is known."""
    receptive_field: ReceptiveField | None
    """For its dimensions of space in their order; None where no fixed window of one input is seen."""


def measure_geometry(graph: Graph) -> Mapping[str, Geometry]:
    """Return the geometry of each input and each tensor that follows from one."""
    channels = _find_channels(graph)
    views = _find_views(graph, channels)
    return {
        name: Geometry(_channel_axis(graph, channels, name), _receptive_field(views.get(name)))
        for name in graph.varying
    }


_POINTWISE = frozenset(
    """
    Abs Acos Acosh Add And Asin Asinh Atan Atanh BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil Celu
    Clip Cos Cosh DequantizeLinear Div Dropout Elu Equal Erf Exp Expand FastGelu Floor Gelu Greater GreaterOrEqual
    HardSigmoid HardSwish Identity IsInf IsNaN LRN LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or
    PRelu Pow QuantizeLinear QuickGelu Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt
    Sub Sum Swish Tan Tanh ThresholdedRelu Where Xor
    """.split()  # noqa: SIM905 - a name a line would fill pages
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
_KEEPING = frozenset(
    """
    Concat CumSum Gather Hardmax LayerNormalization LogSoftmax LpNormalization MatMul MeanVarianceNormalization Pad
    RMSNormalization ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
    ReduceSumSquare Resize Slice Softmax Split Upsample
    """.split()  # noqa: SIM905 - a name a line would fill pages
)
_MOVING = frozenset({"Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
# What these give depends on how large a tensor is, and on none of its values.
_SIZES_ONLY = frozenset({"EyeLike", "RandomNormalLike", "RandomUniformLike", "Shape", "Size"})

_Axes = tuple[int | None, ...]
"""For each axis of one tensor that axis of another which is the same."""


@dataclass(frozen=True)
class _Layout:
    rows: int
    channels: int

    def moved(self, axes: _Axes) -> "_Layout | None":
        rows, channels = axes[self.rows], axes[self.channels]
        return None if rows is None or channels is None else _Layout(rows, channels)


_CHANNELS_FIRST = _Layout(rows=0, channels=1)


@dataclass(frozen=True)
class _Window:
    """What one axis of a tensor sees of one axis of an input: place i sees `size` pixels from `start + i * stride`."""

    origin: tuple[str, int]
    start: int | None
    """None where it depends on the size of a request."""
    size: int
    stride: int


_View = tuple[_Window | None, ...]
"""A window for each axis that is one of space; together they have all axes of space of their input."""


def _channel_axis(graph: Graph, layouts: Mapping[str, _Layout], name: str) -> int:
    if name in layouts:
        return layouts[name].channels
    return 1 if _rank(graph, name) == 2 else 0


def _receptive_field(view: _View | None) -> ReceptiveField | None:
    windows = [window for window in view or () if window is not None]
    if not windows:
        return None
    return ReceptiveField(tuple(window.size for window in windows), tuple(window.stride for window in windows))


def _find_channels(graph: Graph) -> Mapping[str, _Layout]:
    """Return the layouts that follow from the operators, the surest first; a tensor's first one stays."""
    links: dict[str, list[tuple[str, _Axes]]] = {}
    for node in graph.nodes:
        for before, after, axes in _links(graph, node):
            links.setdefault(before, []).append((after, axes))
            links.setdefault(after, []).append((before, _inverse(axes, _rank(graph, after) or 0)))
    layouts: dict[str, _Layout] = {}
    sure = [name for node in graph.nodes for name in _channels_second(graph, node)]
    _spread(layouts, links, ((name, _CHANNELS_FIRST) for name in sure))
    for node in graph.nodes:
        # A dense layer counts its features last.
        name = node.input[0] if _is_dense(graph, node) else ""
        rank = _rank(graph, name) or 0
        if rank > 2 and name in graph.varying:
            _spread(layouts, links, [(name, _Layout(0, rank - 1))])
    return layouts


def _spread(
    layouts: dict[str, _Layout], links: Mapping[str, list[tuple[str, _Axes]]], found: Iterable[tuple[str, _Layout]]
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
            if name in graph.varying and (_rank(graph, name) or 0) > 1:
                yield name


def _is_dense(graph: Graph, node: onnx.NodeProto) -> bool:
    takes = list(node.input)
    return (
        node.op_type == "MatMul" and takes[1:2] != [] and takes[1] not in graph.varying and _rank(graph, takes[1]) == 2
    )


def _links(graph: Graph, node: onnx.NodeProto) -> Iterator[tuple[str, str, _Axes]]:
    """Give the tensors that a node takes and computes with axes that are the same."""
    if node.op_type in _MOVING:
        if node.input[:1] and node.input[0] in graph.varying and node.output[0]:
            yield node.input[0], node.output[0], _moved_axes(graph, node)
        return
    if not _keeps_layout(graph, node):
        return
    combined = node.op_type in _POINTWISE or node.op_type == "Concat"
    for before in node.input if combined else node.input[:1]:
        rank = _rank(graph, before)
        if before in graph.varying and rank is not None:
            same = tuple(range(rank))
            yield from ((before, after, same) for after in node.output if after and _rank(graph, after) == rank)


def _keeps_layout(graph: Graph, node: onnx.NodeProto) -> bool:
    if node.op_type == "MatMul":
        return _is_dense(graph, node)
    return node.op_type in _POINTWISE or node.op_type in _KEEPING or node.op_type in _CHANNELS_SECOND


def _inverse(axes: _Axes, rank: int) -> _Axes:
    back: list[int | None] = [None] * rank
    for before, after in enumerate(axes):
        if after is not None:
            back[after] = before
    return tuple(back)


def _moved_axes(graph: Graph, node: onnx.NodeProto) -> _Axes:
    """Return where the axes go that a Transpose or a regrouping of the sizes moves."""
    before, after = graph.tensor(node.input[0]).shape, graph.tensor(node.output[0]).shape
    if before is None or after is None:
        return (None,) * len(before or ())
    if node.op_type != "Transpose":
        return _regrouped_axes(before, after)
    order = _read_ints(node, "perm") or tuple(reversed(range(len(before))))
    if sorted(order) != list(range(len(before))) or len(after) != len(before):
        return (None,) * len(before)
    return _inverse(order, len(before))


def _regrouped_axes(before: Shape, after: Shape) -> _Axes:
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


def _comparison(before: Shape, after: Shape) -> Callable[[int | str | None, int | str | None], bool]:
    """Return what tells whether two sizes are the same, one open size on either side included if all else is."""
    fixed = [[size for size in shape if isinstance(size, int)] for shape in (before, after)]
    one_open = len(before) - len(fixed[0]) == len(after) - len(fixed[1]) == 1 and _product(fixed[0]) == _product(
        fixed[1]
    )

    def same(one: int | str | None, other: int | str | None) -> bool:
        if isinstance(one, int) or isinstance(other, int):
            return one == other
        return one_open or (one is not None and one == other)

    return same


def _product(sizes: Iterable[int]) -> int:
    product = 1
    for size in sizes:
        product = min(product * size, _FARTHEST**2)
    return product


def _find_views(graph: Graph, layouts: Mapping[str, _Layout]) -> Mapping[str, _View]:
    views: dict[str, _View] = {}
    for name in graph.inputs:
        rank, layout = _rank(graph, name), layouts.get(name)
        if rank is not None and layout is not None:
            views[name] = tuple(
                None if axis in {layout.rows, layout.channels} else _Window((name, axis), 0, 1, 1)
                for axis in range(rank)
            )
    fixed: set[str] = set()  # varies with the sizes of the inputs only
    opset = next((entry.version for entry in graph.model.opset_import if entry.domain in {"", "ai.onnx"}), 1)
    for node, takes in zip(graph.nodes, graph.takes, strict=True):
        seen = [name for name in takes if name in graph.varying and name not in fixed]
        if not seen or node.op_type in _SIZES_ONLY:
            fixed.update(node.output)
        elif all(name in views for name in seen):
            _look(_Step(graph, node, opset, [(name, views[name]) for name in seen]), views)
    return views


@dataclass(frozen=True)
class _Step:
    """A node, and the views of what it takes."""

    graph: Graph
    node: onnx.NodeProto
    opset: int
    seen: Sequence[tuple[str, _View]]


def _look(step: _Step, views: dict[str, _View]) -> None:
    node = step.node
    rule = _RULES.get(node.op_type, _see_same if node.op_type in _POINTWISE else None)
    # All other operators look at the first tensor, through others that do not vary.
    if rule is None or (rule not in {_see_same, _see_joined} and [name for name, _ in step.seen] != node.input[:1]):
        return
    try:
        view = rule(step)
    except LookupError:  # an attribute or a constant that the rule needs is not there, or not readable
        return
    count = sum(window is not None for window in step.seen[0][1])
    for name in filter(None, node.output):
        if _is_sound(view, count) and _rank(step.graph, name) == len(view):
            views[name] = view


def _is_sound(view: _View, count: int) -> bool:
    """Whether no axis of the input was lost, and the windows are some of a real image."""
    windows = [window for window in view if window is not None]
    return len(windows) == count and all(
        0 < window.size < _FARTHEST and 0 < window.stride < _FARTHEST and abs(window.start or 0) < _FARTHEST
        for window in windows
    )


def _see_same(step: _Step) -> _View:
    """Unite the windows of tensors that are combined number by number, broadcast against each other."""
    shape = _shape(step.graph, step.node.output[0])
    views = []
    for name, view in step.seen:
        sizes = _shape(step.graph, name)
        missing = len(shape) - len(sizes)
        for axis, (window, size) in enumerate(zip(view, sizes, strict=True)):
            if window is not None and size == 1 != shape[axis + missing]:
                raise LookupError  # every place sees the one that is there
        views.append((*(None,) * missing, *view))
    return _unite(views)


def _see_joined(step: _Step) -> _View:
    view = _unite([view for _, view in step.seen])
    _refuse_windows(view, [_axis(_read_int(step.node, "axis", 0 if step.opset >= 4 else 1), view)])
    return view


def _unite(views: Sequence[_View]) -> _View:
    if len({tuple(window and (window.origin, window.stride) for window in view) for view in views}) != 1:
        raise LookupError
    return tuple(_unite_windows([view[axis] for view in views]) for axis in range(len(views[0])))


def _unite_windows(windows: Sequence[_Window | None]) -> _Window | None:
    first = windows[0]
    if first is None or all(window == first for window in windows):
        return first
    starts = [window.start for window in windows if window is not None and window.start is not None]
    if len(starts) != len(windows):
        raise LookupError
    ends = [window.size + (window.start or 0) for window in windows if window is not None]
    return replace(first, start=min(starts), size=max(ends) - min(starts))


def _see_kernel(step: _Step) -> _View:
    """Slide a window over space: a convolution or a pooling."""
    node, view = step.node, step.seen[0][1]
    kernel = _read_ints(node, "kernel_shape") or _kernel_of_weights(step)
    space = len(kernel)
    strides = _read_ints(node, "strides") or (1,) * space
    dilations = _read_ints(node, "dilations") or (1,) * space
    if not len(view) - 2 == len(strides) == len(dilations) == space or min((*kernel, *strides, *dilations)) < 1:
        raise LookupError
    starts = _starts(step, kernel, strides, dilations)
    windows = view[2:]
    return (
        *view[:2],
        *(
            _slide(windows[axis], starts[axis], (kernel[axis] - 1) * dilations[axis] + 1, strides[axis])
            for axis in range(space)
        ),
    )


def _slide(window: _Window | None, start: int | None, reach: int, stride: int) -> _Window | None:
    """Return what is seen through a window of `reach` places of another, the first of them at `start`."""
    if window is None:
        return None
    return _Window(
        window.origin,
        None if start is None or window.start is None else window.start + start * window.stride,
        window.size + (reach - 1) * window.stride,
        window.stride * stride,
    )


def _kernel_of_weights(step: _Step) -> tuple[int, ...]:
    weights = step.node.input[3 if step.node.op_type == "QLinearConv" else 1]
    sizes = _shape(step.graph, weights)[2:]
    if not all(isinstance(size, int) for size in sizes):
        raise LookupError
    return tuple(size for size in sizes if isinstance(size, int))


def _starts(
    step: _Step, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> tuple[int | None, ...]:
    """Return the first place that the first window covers, for each dimension of space."""
    mode = _read_text(step.node, "auto_pad", "NOTSET")
    if mode == "NOTSET":
        pads = _read_ints(step.node, "pads") or (0,) * len(kernel)
        return tuple(-pad for pad in pads[: len(kernel)])
    if mode == "VALID":
        return (0,) * len(kernel)
    starts: list[int | None] = []
    for size, reach, stride in zip(
        _shape(step.graph, step.node.input[0])[2:],
        ((size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations, strict=True)),
        strides,
        strict=True,
    ):
        if stride == 1:
            missing = reach - 1
        elif isinstance(size, int):
            missing = max((-(-size // stride) - 1) * stride + reach - size, 0)
        else:
            starts.append(None)
            continue
        starts.append(-(missing - missing // 2 if mode == "SAME_LOWER" else missing // 2))
    return tuple(starts)


def _see_block(step: _Step) -> _View:
    """See all that was moved into the channels."""
    view = step.seen[0][1]
    block = _read_int(step.node, "blocksize", 0)
    return (*view[:2], *(_slide(window, 0, block, block) for window in view[2:]))


def _see_first(step: _Step) -> _View:
    return step.seen[0][1]


def _see_moved(step: _Step) -> _View:
    return _move(step.seen[0][1], _moved_axes(step.graph, step.node), _rank(step.graph, step.node.output[0]) or 0)


def _move(view: _View, axes: _Axes, rank: int) -> _View:
    moved: list[_Window | None] = [None] * rank
    for window, axis in zip(view, axes, strict=True):
        if axis is not None:
            moved[axis] = window
    return tuple(moved)


def _see_cut(step: _Step) -> _View:
    """Shift by what a Slice leaves out at the beginning."""
    node, view = step.node, list(step.seen[0][1])
    starts = _read_ints_of(step, "starts", 1)
    axes = _read_ints_of(step, "axes", 3) or tuple(range(len(starts)))
    steps = _read_ints_of(step, "steps", 4) or (1,) * len(starts)
    sizes = _shape(step.graph, node.input[0])
    for start, given, stride in zip(starts, axes, steps, strict=False):
        axis = _axis(given, view)
        size = sizes[axis]
        if stride < 1 and view[axis] is not None:
            raise LookupError
        first: int | None = start
        if start < 0:
            first = max(start + size, 0) if isinstance(size, int) else None
        view[axis] = _slide(view[axis], first, 1, stride)
    return tuple(view)


def _see_padded(step: _Step) -> _View:
    """Shift by what is added at the beginning; what is there repeats the border, or the places beside it."""
    node, view = step.node, list(step.seen[0][1])
    if _read_text(node, "mode", "constant") == "wrap":
        raise LookupError
    pads = _read_ints_of(step, "pads", 1) or _read_ints(node, "paddings")
    axes = _read_ints_of(step, "axes", 3) or tuple(range(len(view)))
    if len(pads) != 2 * len(axes):
        raise LookupError
    for given, pad in zip(axes, pads, strict=False):
        axis = _axis(given, view)
        view[axis] = _slide(view[axis], -pad, 1, 1)
    return tuple(view)


def _see_picked(step: _Step) -> _View:
    """Keep what is taken apart or chosen along an axis that is not one of space."""
    view = step.seen[0][1]
    _refuse_windows(view, [_axis(_read_int(step.node, "axis", 0), view)])
    return view


def _see_dense(step: _Step) -> _View:
    view = step.seen[0][1]
    if not _is_dense(step.graph, step.node):
        raise LookupError
    _refuse_windows(view, [len(view) - 1])
    return view


def _see_normalized(step: _Step) -> _View:
    """Keep what is normalized over other axes than those of space."""
    view = step.seen[0][1]
    first_versions = step.opset < 13 and step.node.op_type in {"Softmax", "LogSoftmax", "Hardmax"}
    axis = _axis(_read_int(step.node, "axis", 1 if first_versions else -1), view)
    one_only = not first_versions and not step.node.op_type.endswith("Normalization")
    _refuse_windows(view, [axis] if one_only or step.node.op_type == "LpNormalization" else range(axis, len(view)))
    return view


def _see_reduced(step: _Step) -> _View:
    view = step.seen[0][1]
    given = _read_ints_of(step, "axes", 1)
    if not given:
        raise LookupError
    axes = {_axis(axis, view) for axis in given}
    _refuse_windows(view, axes)
    if _read_int(step.node, "keepdims", 1):
        return view
    return tuple(window for axis, window in enumerate(view) if axis not in axes)


def _refuse_windows(view: _View, axes: Iterable[int]) -> None:
    if any(view[axis] is not None for axis in axes):
        raise LookupError


_RULES: Mapping[str, Callable[[_Step], _View]] = {
    "AveragePool": _see_kernel,
    "BatchNormalization": _see_first,
    "Concat": _see_joined,
    "Conv": _see_kernel,
    "ConvInteger": _see_kernel,
    "Flatten": _see_moved,
    "FusedConv": _see_kernel,
    "Gather": _see_picked,
    "Hardmax": _see_normalized,
    "LayerNormalization": _see_normalized,
    "LogSoftmax": _see_normalized,
    "LpNormalization": _see_normalized,
    "LpPool": _see_kernel,
    "MatMul": _see_dense,
    "MaxPool": _see_kernel,
    "Pad": _see_padded,
    "QLinearConv": _see_kernel,
    "RMSNormalization": _see_normalized,
    **{name: _see_reduced for name in _KEEPING if name.startswith("Reduce")},
    "Reshape": _see_moved,
    "Slice": _see_cut,
    "Softmax": _see_normalized,
    "SpaceToDepth": _see_block,
    "Split": _see_picked,
    "Squeeze": _see_moved,
    "Transpose": _see_moved,
    "Unsqueeze": _see_moved,
}


def _rank(graph: Graph, name: str) -> int | None:
    shape = graph.tensor(name).shape
    return None if shape is None else len(shape)


def _shape(graph: Graph, name: str) -> Shape:
    shape = graph.tensor(name).shape
    if shape is None:
        raise LookupError
    return shape


def _axis(given: int, view: Sequence[object]) -> int:
    """Return an axis counted from the first, of one that may be counted from the last."""
    if not -len(view) <= given < len(view):
        raise LookupError
    return given % len(view)


def _find(node: onnx.NodeProto, name: str) -> onnx.AttributeProto | None:
    return next((attribute for attribute in node.attribute if attribute.name == name), None)


def _read_int(node: onnx.NodeProto, name: str, default: int) -> int:
    attribute = _find(node, name)
    return default if attribute is None else attribute.i


def _read_ints(node: onnx.NodeProto, name: str) -> tuple[int, ...]:
    attribute = _find(node, name)
    return () if attribute is None else tuple(attribute.ints)


def _read_text(node: onnx.NodeProto, name: str, default: str) -> str:
    attribute = _find(node, name)
    return default if attribute is None else attribute.s.decode(errors="replace")


def _read_ints_of(step: _Step, name: str, place: int) -> tuple[int, ...]:
    """Return what is an attribute in old versions of an operator, and a constant that it takes in new ones.

    Raises:
        LookupError: what it takes is no constant that stands in the graph.
    """
    node = step.node
    if _find(node, name) is not None:
        return _read_ints(node, name)
    if place >= len(node.input) or not node.input[place]:
        return ()
    return _read_constant(step.graph, node.input[place])


def _read_constant(graph: Graph, name: str) -> tuple[int, ...]:
    tensor = graph.weights.get(name)
    if tensor is None:
        producer = graph.nodes[graph.producers[name]]
        if producer.op_type == "Constant" and _find(producer, "value_ints") is not None:
            return _read_ints(producer, "value_ints")
        value = _find(producer, "value") if producer.op_type == "Constant" else None
        tensor = None if value is None else value.t
    if tensor is None or tensor.data_location == onnx.TensorProto.EXTERNAL or _product(tensor.dims) > _MOST_AXES:
        raise LookupError
    try:
        return tuple(int(number) for number in numpy_helper.to_array(tensor).flat)
    except (TypeError, ValueError, OverflowError) as error:  # it holds no finite numbers, or fewer than it says
        raise LookupError from error
