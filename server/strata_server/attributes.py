"""What a node says of how it works: in its attributes, and in constants that it takes in the place of some."""

import math

import onnx
from onnx import numpy_helper

from strata_server.graph import Graph

# Twice as many numbers, for instance, as a Pad has for all axes.
_MOST_NUMBERS = 1000


def read_int(node: onnx.NodeProto, name: str, default: int) -> int:
    """Return an attribute that is one whole number."""
    attribute = _find(node, name)
    return default if attribute is None else attribute.i


def read_ints(node: onnx.NodeProto, name: str) -> tuple[int, ...]:
    """Return an attribute that is a list of whole numbers; an empty one where it is not there."""
    attribute = _find(node, name)
    return () if attribute is None else tuple(attribute.ints)


def read_text(node: onnx.NodeProto, name: str, default: str) -> str:
    """Return an attribute that is a text; what is not UTF-8 in it is replaced."""
    attribute = _find(node, name)
    return default if attribute is None else attribute.s.decode(errors="replace")


def read_given_ints(graph: Graph, node: onnx.NodeProto, name: str, place: int) -> tuple[int, ...]:
    """Return what is an attribute in old versions of an operator, and a constant that it takes in new ones.

    Args:
        graph: where the node lies.
        node: any node.
        name: of the attribute.
        place: of the constant among what the node takes.

    Returns:
        An empty tuple where neither is there.

    Raises:
        LookupError: what the node takes is no constant that stands in the graph.
    """
    if _find(node, name) is not None:
        return read_ints(node, name)
    if place >= len(node.input) or not node.input[place]:
        return ()
    return _read_constant(graph, node.input[place])


def _find(node: onnx.NodeProto, name: str) -> onnx.AttributeProto | None:
    return next((attribute for attribute in node.attribute if attribute.name == name), None)


def _read_constant(graph: Graph, name: str) -> tuple[int, ...]:
    tensor = graph.weights.get(name)
    if tensor is None:
        producer = graph.nodes[graph.producers[name]]
        if producer.op_type == "Constant" and _find(producer, "value_ints") is not None:
            return read_ints(producer, "value_ints")
        value = _find(producer, "value") if producer.op_type == "Constant" else None
        tensor = None if value is None else value.t
    if tensor is None or tensor.data_location == onnx.TensorProto.EXTERNAL or math.prod(tensor.dims) > _MOST_NUMBERS:
        raise LookupError
    try:
        return tuple(int(number) for number in numpy_helper.to_array(tensor).flat)
    except (TypeError, ValueError, OverflowError) as error:  # it holds no finite numbers, or fewer than it says
        raise LookupError from error
