"""Moves changes of layout behind what does not care for the layout, so that onnxruntime finds what it can fuse.

A convolution that computes channels first in a network of channels last is followed by a Transpose, and only then by
its normalization and activation: with the Transpose in between, onnxruntime does not fold them into the convolution.
"""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import onnx
from onnx import helper, numpy_helper

from strata_server.graph import Graph, taken

_UNARY = frozenset(
    {"Abs", "Elu", "Exp", "HardSigmoid", "HardSwish", "LeakyRelu", "Neg", "Relu", "Selu", "Sigmoid", "Tanh"}
)
_BINARY = frozenset({"Add", "Div", "Mul", "Sub"})
# Since this opset element-wise operators broadcast, and Reshape takes its shape as an input.
_OLDEST_OPSET = 7


def move_transposes(model: onnx.ModelProto, graph: Graph) -> None:
    """Let each Transpose of a slice follow the element-wise nodes that it alone feeds.

    Args:
        model: the slice, changed in place; every node of it computes what it did, under the same names.
        graph: where it was cut from.
    """
    opset = next((each.version for each in model.opset_import if each.domain in {"", "ai.onnx"}), 0)
    if opset < _OLDEST_OPSET:
        return
    uses = Counter(name for node in model.graph.node for name in taken(node))
    # What leaves is used outside as well, and must be there under its name.
    uses.update({output.name: 2 for output in model.graph.output})
    waiting: dict[str, onnx.NodeProto] = {}  # by what they give: each follows the next node that takes it
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.op_type == "Transpose" and node.attribute and uses[node.output[0]] == 1:
            nodes.extend(waiting.pop(name) for name in taken(node) if name in waiting)
            waiting[node.output[0]] = node
            continue
        layouts = [name for name in taken(node) if name in waiting]
        if len(layouts) != 1 or not _ignores_layout(node, layouts[0], graph):
            nodes.extend(waiting.pop(name) for name in layouts)
            nodes.append(node)
            continue
        transpose, result = waiting.pop(layouts[0]), node.output[0]
        nodes.extend(_apply_before(node, transpose, graph))
        follower = helper.make_node("Transpose", [_before(result)], [result], perm=transpose.attribute[0].ints)
        if uses[result] == 1:
            waiting[result] = follower
        else:
            nodes.append(follower)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *waiting.values()])


def _ignores_layout(node: onnx.NodeProto, layout: str, graph: Graph) -> bool:
    """Say whether a node treats each number alike, or each channel, where channels are last."""
    if node.domain not in {"", "ai.onnx"}:
        return False
    if node.op_type in _UNARY:
        return True
    others = [name for name in node.input if name != layout]
    if node.op_type not in _BINARY or len(others) != 1 or others[0] not in graph.weights:
        return False
    # As many numbers as channels, or one for all.
    return all(size == 1 for size in graph.weights[others[0]].dims[:-1])


def _apply_before(node: onnx.NodeProto, transpose: onnx.NodeProto, graph: Graph) -> Iterator[onnx.NodeProto]:
    """Give what computes a node from what the Transpose before it takes."""
    perm = transpose.attribute[0].ints
    moved = onnx.NodeProto()
    moved.CopyFrom(node)
    moved.output[0] = _before(node.output[0])
    following = len(perm) - 1 - perm[-1]  # dimensions after the channels, where they were
    for place, name in enumerate(node.input):
        if name == transpose.output[0]:
            moved.input[place] = transpose.input[0]
        elif list(graph.weights[name].dims):
            column, shape = f"{node.output[0]}//column", f"{node.output[0]}//shape"
            sizes = np.array([-1, *[1] * following])
            yield helper.make_node("Constant", [], [shape], value=numpy_helper.from_array(sizes))
            yield helper.make_node("Reshape", [name, shape], [column])
            moved.input[place] = column
    yield moved


def _before(name: str) -> str:
    return f"{name}//before"
