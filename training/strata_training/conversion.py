"""From a Keras model to an ONNX graph in which every layer is a tensor under its own name.

Each layer is converted alone, and the pieces are joined at the layers' names. So a name is a real cut: all that
follows a layer is computed from its tensor and from nothing before it, and a slice may enter or leave anywhere.
The whole model converted at once does not give that: a dropout is passed by, and a flatten asks the network's
input for the batch size.
"""

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
from onnx import helper, numpy_helper

from strata_training.errors import Unsupported
from strata_training.trace import Input, Step, Trace

# The newest that tf2onnx 1.17 writes; newer ones change nothing for the layers of a CNN.
OPSET = 18
# The oldest file format that may hold this opset, so that every runtime that knows the opset reads the file.
IR_VERSION = 8

_OUTPUT = "output"
_LONGEST_REASON = 200


def convert(network: Trace) -> onnx.ModelProto:
    """Return the network as ONNX: inputs and layers under their Keras names, every layer a graph output.

    The same weights give the same bytes.

    Raises:
        Unsupported: a layer has no form in ONNX.
    """
    pieces = [_convert_step(step) for step in network.steps]
    _share_constants(network.steps, pieces)
    graph = helper.make_graph(
        [node for piece in pieces for node in piece.node],
        "network",
        [_value_info(entry) for entry in network.inputs],
        [_value_info(step) for step in network.steps],
        [constant for piece in pieces for constant in piece.initializer],
    )
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="strata-training",
    )


def check(model: onnx.ModelProto) -> None:
    """Check that a model is valid ONNX, each shape and type that is declared against what follows from its inputs.

    Raises:
        Unsupported: it is not.
    """
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise Unsupported(f"the conversion gave no valid ONNX: {error}") from error


def _convert_step(step: Step) -> onnx.GraphProto:
    signature = [
        tf.TensorSpec(tensor.shape, tensor.dtype, name=_source(place))
        for place, tensor in enumerate(step.source_tensors)
    ]

    def compute(*values: tf.Tensor) -> dict[str, tf.Tensor]:
        return {_OUTPUT: step.compute(values)}

    function = tf.function(compute, input_signature=signature, autograph=False)
    try:
        with _inlined():
            model, _ = tf2onnx.convert.from_function(
                function, input_signature=signature, opset=OPSET, custom_op_handlers={"Erfc": (_convert_erfc, [])}
            )
    except Exception as error:  # each kind of layer has its own way to fail
        reason = textwrap.shorten(str(error), _LONGEST_REASON, placeholder=" …")
        raise Unsupported(f"layer {step.name!r} cannot be converted: {reason}") from error
    model.graph.initializer.extend(_captured_constants(function))
    _check_operators(step.name, model.graph)
    return _rename(model.graph, step)


@contextmanager
def _inlined() -> Iterator[None]:
    """Let the functions within a layer be part of its graph: Keras compiles a grouped convolution as one of its own.

    tf2onnx cannot enter that. TensorFlow calls it eager, but what is traced goes on being traced.
    """
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


def _convert_erfc(graph: Any, node: Any, name: str, _: Sequence[Any]) -> None:
    """Write erfc(x), a part of gelu that tf2onnx does not know, as 1 - erf(x)."""
    kind = graph.get_dtype(node.input[0])
    one = graph.make_const(f"{name}_one", np.array(1, helper.tensor_dtype_to_np_dtype(kind)))
    erf = graph.make_node("Erf", [node.input[0]], dtypes=[kind], shapes=[graph.get_shape(node.input[0])])
    outputs, shapes, types = node.output, node.output_shapes, node.output_dtypes
    graph.remove_node(node.name)
    graph.make_node("Sub", [one.output[0], erf.output[0]], outputs=outputs, shapes=shapes, dtypes=types, name=name)


def _captured_constants(function: tf.types.experimental.PolymorphicFunction) -> Iterator[onnx.TensorProto]:
    """Give what a layer keeps as a plain tensor, such as Normalization its mean: tf2onnx makes it an input."""
    for value, placeholder in function.get_concrete_function().graph.captures:
        if value.dtype != tf.resource:
            yield numpy_helper.from_array(np.asarray(value.numpy()), placeholder.name)


def _source(place: int) -> str:
    return f"source_{place}"


def _check_operators(layer: str, graph: onnx.GraphProto) -> None:
    """Check that all is plain ONNX: tf2onnx leaves in the graph what it cannot convert, and goes on."""
    foreign = {node.op_type for node in graph.node if not onnx.defs.has(node.op_type, OPSET, node.domain)}
    if foreign:
        raise Unsupported(f"layer {layer!r} has no form in ONNX: {', '.join(sorted(foreign))}")
    nested = {node.op_type for node in graph.node if any(a.HasField("g") or a.graphs for a in node.attribute)}
    if nested:
        raise Unsupported(f"layer {layer!r} loops or branches ({', '.join(sorted(nested))}): not supported")


def _rename(graph: onnx.GraphProto, step: Step) -> onnx.GraphProto:
    """Give the piece the names of the network; what is inside the layer gets LAYER/NUMBER.

    tf2onnx's own names count the conversions of the process, so they would differ from one export to the next.
    """
    names = {_source(place): name for place, name in enumerate(step.sources)}
    names |= {_OUTPUT: step.name, "": ""}
    for name in _names(graph.node):
        names.setdefault(name, f"{step.name}/{len(names)}")
    nodes = [
        helper.make_node(
            node.op_type,
            [names[name] for name in node.input],
            [names[name] for name in node.output],
            name=f"{step.name}/{node.op_type}_{place}",
        )
        for place, node in enumerate(graph.node)
    ]
    for renamed, node in zip(nodes, graph.node, strict=True):
        renamed.attribute.extend(sorted(node.attribute, key=lambda attribute: attribute.name))
    return helper.make_graph(nodes, step.name, [], [], list(_rename_constants(graph, names)))


def _names(nodes: Iterable[onnx.NodeProto]) -> Iterator[str]:
    for node in nodes:
        yield from node.input
        yield from node.output


def _rename_constants(graph: onnx.GraphProto, names: dict[str, str]) -> Iterator[onnx.TensorProto]:
    constants = {constant.name: constant for constant in graph.initializer}
    for old, new in names.items():
        if old in constants:
            constants[old].name = new
            yield constants[old]


def _share_constants(steps: Sequence[Step], pieces: Sequence[onnx.GraphProto]) -> None:
    """Let the calls of one layer take the same constants, so that its weights stand in the file once."""
    calls = Counter(step.layer for step in steps)
    shared: dict[tuple[object, ...], str] = {}
    for step, piece in zip(steps, pieces, strict=True):
        if calls[step.layer] > 1:
            names = {
                constant.name: shared.setdefault(_content(step, constant), constant.name)
                for constant in piece.initializer
            }
            _take(piece, names)


def _content(step: Step, constant: onnx.TensorProto) -> tuple[object, ...]:
    return step.layer, constant.data_type, tuple(constant.dims), numpy_helper.to_array(constant).tobytes()


def _take(piece: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Let a piece take constants by other names, and drop those that it has under another name."""
    for node in piece.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    kept = [constant for constant in piece.initializer if names[constant.name] == constant.name]
    del piece.initializer[:]
    piece.initializer.extend(kept)


def _value_info(point: Input | Step) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(point.tensor.dtype))
    return helper.make_tensor_value_info(point.name, kind, ["batch", *point.tensor.shape[1:]])
