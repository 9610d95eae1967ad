"""What of the input each place of a tensor sees, one window for each dimension of space, forward from the inputs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import onnx

from strata_server.attributes import read_given_ints, read_int, read_ints, read_text
from strata_server.graph import Graph, Shape
from strata_server.layouts import POINTWISE, REDUCING, Layout, is_dense, rank_of, trace_axes

# A window beyond this is of no image, and numbers would grow without end in a long chain of hostile strides.
_FARTHEST = 2**31
# What these give depends on how large a tensor is, and on none of its values.
_SIZES_ONLY = frozenset({"EyeLike", "RandomNormalLike", "RandomUniformLike", "Shape", "Size"})


@dataclass(frozen=True)
class Window:
    """What one axis of a tensor sees of one axis of an input: place i sees `size` pixels from `start + i * stride`."""

    origin: tuple[str, int]
    start: int | None
    """None where it depends on the size of a request."""
    size: int
    stride: int


View = tuple[Window | None, ...]
"""A window for each axis that is one of space; together they have all axes of space of their input."""


def find_views(graph: Graph, layouts: Mapping[str, Layout]) -> Mapping[str, View]:
    """Return what each tensor sees that is computed from fixed windows of one image.

    Args:
        graph: the network.
        layouts: where the channels and rows of its inputs are; the other axes of an image are those of space.
    """
    views: dict[str, View] = {}
    for name in graph.inputs:
        rank, layout = rank_of(graph, name), layouts.get(name)
        if rank is not None and layout is not None:
            views[name] = tuple(
                None if axis in {layout.rows, layout.channels} else Window((name, axis), 0, 1, 1)
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
    seen: Sequence[tuple[str, View]]


def _look(step: _Step, views: dict[str, View]) -> None:
    node = step.node
    rule = _RULES.get(node.op_type, _see_same if node.op_type in POINTWISE else None)
    # All other operators look at the first tensor, through others that do not vary.
    if rule is None or (rule not in {_see_same, _see_joined} and [name for name, _ in step.seen] != node.input[:1]):
        return
    try:
        view = rule(step)
    except LookupError:  # an attribute or a constant that the rule needs is not there, or not readable
        return
    count = sum(window is not None for window in step.seen[0][1])
    for name in filter(None, node.output):
        if _is_sound(view, count) and rank_of(step.graph, name) == len(view):
            views[name] = view


def _is_sound(view: View, count: int) -> bool:
    """Whether no axis of the input was lost, and the windows are some of a real image."""
    windows = [window for window in view if window is not None]
    return len(windows) == count and all(
        0 < window.size < _FARTHEST and 0 < window.stride < _FARTHEST and abs(window.start or 0) < _FARTHEST
        for window in windows
    )


def _see_same(step: _Step) -> View:
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


def _see_joined(step: _Step) -> View:
    view = _unite([view for _, view in step.seen])
    _refuse_windows(view, [_axis(read_int(step.node, "axis", 0 if step.opset >= 4 else 1), view)])
    return view


def _unite(views: Sequence[View]) -> View:
    if len({tuple(window and (window.origin, window.stride) for window in view) for view in views}) != 1:
        raise LookupError
    return tuple(_unite_windows([view[axis] for view in views]) for axis in range(len(views[0])))


def _unite_windows(windows: Sequence[Window | None]) -> Window | None:
    first = windows[0]
    if first is None or all(window == first for window in windows):
        return first
    starts = [window.start for window in windows if window is not None and window.start is not None]
    if len(starts) != len(windows):
        raise LookupError
    ends = [window.size + (window.start or 0) for window in windows if window is not None]
    return replace(first, start=min(starts), size=max(ends) - min(starts))


def _see_kernel(step: _Step) -> View:
    """Slide a window over space: a convolution or a pooling."""
    node, view = step.node, step.seen[0][1]
    kernel = read_ints(node, "kernel_shape") or _kernel_of_weights(step)
    space = len(kernel)
    strides = read_ints(node, "strides") or (1,) * space
    dilations = read_ints(node, "dilations") or (1,) * space
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


def _slide(window: Window | None, start: int | None, reach: int, stride: int) -> Window | None:
    """Return what is seen through a window of `reach` places of another, the first of them at `start`."""
    if window is None:
        return None
    return Window(
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
    mode = read_text(step.node, "auto_pad", "NOTSET")
    if mode == "NOTSET":
        pads = read_ints(step.node, "pads") or (0,) * len(kernel)
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


def _see_block(step: _Step) -> View:
    """See all that was moved into the channels."""
    view = step.seen[0][1]
    block = read_int(step.node, "blocksize", 0)
    return (*view[:2], *(_slide(window, 0, block, block) for window in view[2:]))


def _see_first(step: _Step) -> View:
    return step.seen[0][1]


def _see_moved(step: _Step) -> View:
    moved: list[Window | None] = [None] * (rank_of(step.graph, step.node.output[0]) or 0)
    for window, axis in zip(step.seen[0][1], trace_axes(step.graph, step.node), strict=True):
        if axis is not None:
            moved[axis] = window
    return tuple(moved)


def _see_cut(step: _Step) -> View:
    """Shift by what a Slice leaves out at the beginning."""
    node, view = step.node, list(step.seen[0][1])
    starts = read_given_ints(step.graph, step.node, "starts", 1)
    axes = read_given_ints(step.graph, step.node, "axes", 3) or tuple(range(len(starts)))
    steps = read_given_ints(step.graph, step.node, "steps", 4) or (1,) * len(starts)
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


def _see_padded(step: _Step) -> View:
    """Shift by what is added at the beginning; what is there repeats the border, or the places beside it."""
    node, view = step.node, list(step.seen[0][1])
    if read_text(node, "mode", "constant") == "wrap":
        raise LookupError
    pads = read_given_ints(step.graph, step.node, "pads", 1) or read_ints(node, "paddings")
    axes = read_given_ints(step.graph, step.node, "axes", 3) or tuple(range(len(view)))
    if len(pads) != 2 * len(axes):
        raise LookupError
    for given, pad in zip(axes, pads, strict=False):
        axis = _axis(given, view)
        view[axis] = _slide(view[axis], -pad, 1, 1)
    return tuple(view)


def _see_picked(step: _Step) -> View:
    """Keep what is taken apart or chosen along an axis that is not one of space."""
    view = step.seen[0][1]
    _refuse_windows(view, [_axis(read_int(step.node, "axis", 0), view)])
    return view


def _see_dense(step: _Step) -> View:
    view = step.seen[0][1]
    if not is_dense(step.graph, step.node):
        raise LookupError
    _refuse_windows(view, [len(view) - 1])
    return view


def _see_normalized(step: _Step) -> View:
    """Keep what is normalized over other axes than those of space."""
    view = step.seen[0][1]
    first_versions = step.opset < 13 and step.node.op_type in {"Softmax", "LogSoftmax", "Hardmax"}
    axis = _axis(read_int(step.node, "axis", 1 if first_versions else -1), view)
    one_only = not first_versions and not step.node.op_type.endswith("Normalization")
    _refuse_windows(view, [axis] if one_only or step.node.op_type == "LpNormalization" else range(axis, len(view)))
    return view


def _see_reduced(step: _Step) -> View:
    view = step.seen[0][1]
    given = read_given_ints(step.graph, step.node, "axes", 1)
    if not given:
        raise LookupError
    axes = {_axis(axis, view) for axis in given}
    _refuse_windows(view, axes)
    if read_int(step.node, "keepdims", 1):
        return view
    return tuple(window for axis, window in enumerate(view) if axis not in axes)


def _refuse_windows(view: View, axes: Iterable[int]) -> None:
    if any(view[axis] is not None for axis in axes):
        raise LookupError


_RULES: Mapping[str, Callable[[_Step], View]] = {
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
    **dict.fromkeys(REDUCING, _see_reduced),
    "Reshape": _see_moved,
    "Slice": _see_cut,
    "Softmax": _see_normalized,
    "SpaceToDepth": _see_block,
    "Split": _see_picked,
    "Squeeze": _see_moved,
    "Transpose": _see_moved,
    "Unsqueeze": _see_moved,
}


def _axis(given: int, view: Sequence[object]) -> int:
    """Return an axis counted from the first, of one that may be counted from the last."""
    if not -len(view) <= given < len(view):
        raise LookupError
    return given % len(view)


def _shape(graph: Graph, name: str) -> Shape:
    shape = graph.tensor(name).shape
    if shape is None:
        raise LookupError
    return shape
