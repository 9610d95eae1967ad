from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from artifacts import tiny_model
from onnx import TensorProto, helper, numpy_helper
from strata_server.graph import Graph
from strata_server.rows import are_independent
from strata_server.slicing import Slicer

FLOAT = TensorProto.FLOAT


def node(operator: str, *taken: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, list(taken), ["y"], **attributes)


def weight(name: str, values: Any, dtype: Any = np.float32) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(values, dtype), name)


def ints(name: str, *values: int) -> onnx.TensorProto:
    return weight(name, values, np.int64)


def model(
    nodes: Sequence[onnx.NodeProto], weights: Sequence[onnx.TensorProto] = (), opset: int = 18
) -> onnx.ModelProto:
    """Return a model from x (batch, 2, 4, 4) to y."""
    graph = helper.make_graph(
        list(nodes),
        "rows",
        [helper.make_tensor_value_info("x", FLOAT, ["batch", 2, 4, 4])],
        [helper.make_empty_tensor_value_info("y")],
        list(weights),
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    return onnx.shape_inference.infer_shapes(made)


def is_independent(made: onnx.ModelProto) -> bool:
    graph = Graph(made)
    return are_independent(graph, Slicer(graph).find({"x"}, {"y"}))


KERNEL = weight("k", np.ones((3, 2, 3, 3)))
MATRIX = weight("m", np.ones((4, 5)))
SQUARE = weight("s", np.ones((32, 6)))
ONE_ROW, TWO_ROWS = weight("c", np.ones((1, 2, 1, 1))), weight("c", np.ones((2, 2, 1, 1)))
FLAT = node("Flatten", "x")
FLAT.output[0] = "flat"

INDEPENDENT = {
    "relu": ([node("Relu", "x")], []),
    "a constant of one row": ([node("Add", "x", "c")], [ONE_ROW]),
    "a constant of fewer axes": ([node("Mul", "x", "c")], [weight("c", [1.0, 2, 3, 4])]),
    "itself": ([node("Add", "x", "x")], []),
    "convolution": ([node("Conv", "x", "k")], [KERNEL]),
    "pool": ([node("MaxPool", "x", kernel_shape=[2, 2])], []),
    "global pool": ([node("GlobalAveragePool", "x")], []),
    "normalization": (
        [node("BatchNormalization", "x", "a", "b", "c", "d")],
        [weight(name, [1.0, 1.0]) for name in "abcd"],
    ),
    "matrix": ([node("MatMul", "x", "m")], [MATRIX]),
    "matrices of each row": ([node("MatMul", "x", "x")], []),
    "dense": ([FLAT, node("Gemm", "flat", "s", "b")], [SQUARE, weight("b", np.ones(6))]),
    "softmax over channels": ([node("Softmax", "x", axis=1)], []),
    "softmax over the last axis": ([node("Softmax", "x")], []),
    "concatenated channels": ([node("Concat", "x", "x", axis=1)], []),
    "transposed space": ([node("Transpose", "x", perm=[0, 2, 3, 1])], []),
    "mean over space": ([node("ReduceMean", "x", "a")], [ints("a", 2, 3)]),
    "slice of channels": ([node("Slice", "x", "i", "j", "a")], [ints("i", 0), ints("j", 1), ints("a", 1)]),
    "padded space": ([node("Pad", "x", "p")], [ints("p", 0, 0, 1, 1, 0, 0, 1, 1)]),
    "reshape with the batch open": ([node("Reshape", "x", "r")], [ints("r", -1, 32)]),
    "reshape with the batch kept": ([node("Reshape", "x", "r")], [ints("r", 0, 8, 4)]),
    "channels gathered": ([node("Gather", "x", "i", axis=1)], [ints("i", 1, 0)]),
    "best channels": ([node("ArgMax", "x", axis=1)], []),
    "quantized": ([node("QuantizeLinear", "x", "q")], [weight("q", 0.1)]),
}
DEPENDENT = {
    "a constant of several rows": ([node("Add", "x", "c")], [TWO_ROWS]),
    "softmax over rows": ([node("Softmax", "x", axis=0)], []),
    "softmax over rows, counted from behind": ([node("Softmax", "x", axis=-4)], []),
    "mean over everything": ([node("ReduceMean", "x")], []),
    "mean over rows": ([node("ReduceMean", "x", "a")], [ints("a", 0, 2)]),
    "concatenated rows": ([node("Concat", "x", "x", axis=0)], []),
    "transposed rows": ([node("Transpose", "x", perm=[1, 0, 2, 3])], []),
    "rows in space": ([node("Reshape", "x", "r")], [ints("r", 2, -1)]),
    "rows divided": ([node("Reshape", "x", "r")], [ints("r", -1, 16)]),
    "slice of rows": ([node("Slice", "x", "i", "j", "a")], [ints("i", 0), ints("j", 1), ints("a", 0)]),
    "slice of the first axis by default": ([node("Slice", "x", "i", "j")], [ints("i", 0), ints("j", 1)]),
    "padded rows": ([node("Pad", "x", "p")], [ints("p", 1, 0, 0, 0, 0, 0, 0, 0)]),
    "rows gathered": ([node("Gather", "x", "i", axis=0)], [ints("i", 0)]),
    "sum along rows": ([node("CumSum", "x", "a")], [weight("a", 0, np.int64)]),
    "normalization in training": (
        [helper.make_node("BatchNormalization", list("xabcd"), ["y", "m", "v"], training_mode=1)],
        [weight(name, [1.0, 1.0]) for name in "abcd"],
    ),
    "a scale of all rows": ([helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "s", "z"])], []),
    "divided by how many rows there are": (
        [
            helper.make_node("Shape", ["x"], ["sizes"], end=1),
            helper.make_node("Cast", ["sizes"], ["count"], to=FLOAT),
            node("Div", "x", "count"),
        ],
        [],
    ),
    "random": ([node("RandomNormalLike", "x")], []),
}


@pytest.mark.parametrize("name", INDEPENDENT)
def test_rows_that_are_independent_are_found_so_and_are(name: str) -> None:
    made = model(*INDEPENDENT[name])
    assert is_independent(made)
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    rows = np.random.default_rng(0).integers(-4, 5, (3, 2, 4, 4)).astype(np.float32)
    together = session.run(["y"], {"x": rows})[0]
    alone = [session.run(["y"], {"x": rows[place : place + 1]})[0] for place in range(3)]
    np.testing.assert_allclose(together, np.concatenate(alone), rtol=1e-6)  # sums of a batch may be in another order
    rows[1] = np.nan
    poisoned = session.run(["y"], {"x": rows})[0]
    np.testing.assert_array_equal(poisoned[[0, 2]], together[[0, 2]])


@pytest.mark.parametrize("name", DEPENDENT)
def test_rows_that_are_not_or_may_not_be_are_found_so(name: str) -> None:
    assert not is_independent(model(*DEPENDENT[name]))


def test_what_opset_12_calls_an_axis_is_all_from_there_on() -> None:
    assert is_independent(model([node("Softmax", "x")], opset=12))
    assert not is_independent(model([node("Softmax", "x", axis=0)], opset=12))


def test_a_view_as_pytorch_exports_it_is_independent() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["sizes"]),
        helper.make_node("Gather", ["sizes", "zero"], ["count"], axis=0),
        helper.make_node("Unsqueeze", ["count", "zeros"], ["counts"]),
        helper.make_node("Concat", ["counts", "rest"], ["form"], axis=0),
        node("Reshape", "x", "form"),
    ]
    made = model(nodes, [weight("zero", 0, np.int64), ints("zeros", 0), ints("rest", 32)])
    del made.graph.value_info[:]
    made.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", FLOAT, ["batch", 32]))
    assert is_independent(made)


def test_a_fixed_number_of_rows_is_not_for_several_requests() -> None:
    made = model([node("Relu", "x")])
    made.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    assert not is_independent(made)


def test_an_operator_that_is_not_listed_is_not_trusted() -> None:
    assert not is_independent(model([node("Det", "x")]))


def test_every_layer_of_the_tiny_network_is_independent() -> None:
    graph = Graph(onnx.shape_inference.infer_shapes(tiny_model()))
    assert all(are_independent(graph, Slicer(graph).find({"image"}, {name})) for name in graph.outputs)
