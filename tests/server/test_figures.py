from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from strata_server.figures import count_multiply_adds, count_parameters, measure_depths
from strata_server.graph import Graph

FLOAT = onnx.TensorProto.FLOAT


def build(nodes: Sequence[onnx.NodeProto], weights: dict[str, Any], output: str = "y", opset: int = 17) -> Graph:
    """Build a graph from an input "x" of (N, 4)."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", FLOAT, ["N", 4])],
        [helper.make_tensor_value_info(output, FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    return Graph(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]))


def weight(*sizes: int) -> Any:
    return np.ones(sizes, np.float32)


@pytest.mark.parametrize(
    ("operator", "attributes", "takes", "gives", "expected"),
    [
        ("Conv", {}, [(2, 3, 8, 8), (5, 3, 3, 3)], (2, 5, 6, 6), 2 * 5 * 6 * 6 * 3 * 9),
        ("Conv", {"group": 3}, [(1, 3, 8, 8), (6, 1, 3, 3)], (1, 6, 6, 6), 6 * 36 * 9),
        ("Conv", {}, [(1, 2, 8), (4, 2, 3)], (1, 4, 6), 4 * 6 * 2 * 3),
        ("Conv", {}, [(1, 2, 4, 4, 4), (4, 2, 3, 3, 3)], (1, 4, 2, 2, 2), 4 * 8 * 2 * 27),
        ("ConvTranspose", {"strides": [2, 2]}, [(1, 3, 4, 4), (3, 5, 2, 2)], (1, 5, 8, 8), 3 * 16 * 5 * 4),
        ("Gemm", {}, [(2, 4), (4, 5), (5,)], (2, 5), 2 * 5 * 4),
        ("Gemm", {"transA": 1}, [(4, 2), (4, 5)], (2, 5), 2 * 5 * 4),
        ("Gemm", {"transB": 1}, [(2, 4), (5, 4)], (2, 5), 2 * 5 * 4),
        ("MatMul", {}, [(7, 2, 4), (4, 5)], (7, 2, 5), 7 * 2 * 5 * 4),
        ("MatMul", {}, [(3, 1, 2, 4), (6, 4, 5)], (3, 6, 2, 5), 3 * 6 * 2 * 5 * 4),
        ("MatMul", {}, [(4,), (4,)], (), 4),
        ("FusedMatMul", {"transA": 1}, [(7, 4, 2), (7, 4, 5)], (7, 2, 5), 7 * 2 * 5 * 4),
        ("QLinearConv", {}, [(1, 3, 8, 8), (), (), (5, 3, 3, 3), (), (), (), ()], (1, 5, 6, 6), 5 * 36 * 27),
        ("ConvInteger", {}, [(1, 3, 8, 8), (5, 3, 3, 3)], (1, 5, 6, 6), 5 * 36 * 27),
        ("QLinearMatMul", {}, [(2, 4), (), (), (4, 5), (), (), (), ()], (2, 5), 40),
        ("MatMulInteger", {}, [(2, 4), (4, 5)], (2, 5), 40),
        ("LSTM", {"hidden_size": 5}, [(7, 2, 3), (1, 20, 3), (1, 20, 5)], (7, 1, 2, 5), 7 * 2 * 20 * (3 + 5)),
        ("GRU", {"hidden_size": 5}, [(7, 2, 3), (2, 15, 3), (2, 15, 5)], (7, 2, 2, 5), 7 * 2 * 2 * 15 * (3 + 5)),
        ("Einsum", {"equation": "bij, jk -> bik"}, [(7, 2, 4), (4, 5)], (7, 2, 5), 7 * 2 * 4 * 5),
        ("Einsum", {"equation": "ij,jk"}, [(2, 4), (4, 5)], (2, 5), 2 * 4 * 5),
        ("Einsum", {"equation": "...ij,...jk->...ik"}, [(6, 7, 2, 4), (7, 4, 5)], (6, 7, 2, 5), 6 * 7 * 2 * 4 * 5),
        ("Einsum", {"equation": "ij->ji"}, [(2, 4)], (4, 2), 0),
        ("Einsum", {"equation": "i,j->ij"}, [(2,), (4,)], (2, 4), 0),
        ("Attention", {}, [(1, 2, 3, 4), (1, 2, 5, 4), (1, 2, 5, 6)], (1, 2, 3, 6), 2 * 3 * 5 * (4 + 6)),
        ("BatchNormalization", {}, [(1, 3, 8, 8), (3,), (3,), (3,), (3,)], (1, 3, 8, 8), 0),
        ("Add", {}, [(1, 3), (3,)], (1, 3), 0),
    ],
)
def test_a_node_costs_its_multiply_adds(
    operator: str, attributes: dict[str, Any], takes: list[tuple[int, ...]], gives: tuple[int, ...], expected: int
) -> None:
    names = [f"t{place}" for place in range(len(takes))]
    node = helper.make_node(operator, names, ["y"], **attributes)
    shapes = dict(zip(names, takes, strict=True)) | {"y": gives}
    assert count_multiply_adds(node, shapes.get) == expected


@pytest.mark.parametrize("missing", ["x", "y"])
def test_a_cost_that_depends_on_an_unknown_shape_is_unknown(missing: str) -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    shapes = {"x": (2, 4), "w": (4, 5), "y": (2, 5)}
    del shapes[missing]
    assert count_multiply_adds(node, shapes.get) is None


def test_a_cost_of_shapes_that_do_not_fit_the_operator_is_unknown() -> None:
    shapes: dict[str, tuple[int, ...]] = {"x": (), "w": (), "y": ()}
    for operator in ("MatMul", "LSTM", "Attention"):
        node = helper.make_node(operator, ["x", "w"], ["y"])
        assert count_multiply_adds(node, shapes.get) in {None, 0}


def test_a_cost_beyond_64_bits_is_exact() -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    shapes = {"x": (2**62, 2**62), "y": (2**62, 2**62)}
    assert count_multiply_adds(node, shapes.get) == 2**186


def test_a_shared_weight_counts_once_where_it_is_first_used() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Transpose", ["w"], ["t"]),
        helper.make_node("MatMul", ["a", "t"], ["b"]),
        helper.make_node("Add", ["b", "bias"], ["y"]),
    ]
    assert count_parameters(build(nodes, {"w": weight(4, 4), "bias": weight(4)})) == {0: 16, 3: 4}


def test_a_weight_that_a_node_computes_counts_where_it_is_taken() -> None:
    nodes = [
        helper.make_node("ConstantOfShape", ["sizes"], ["w"]),
        helper.make_node("Unsqueeze", ["w", "axis"], ["u"]),
        helper.make_node("Constant", [], ["bias"], value=numpy_helper.from_array(weight(4))),
        helper.make_node("Add", ["x", "u"], ["a"]),
        helper.make_node("Add", ["a", "bias"], ["y"]),
    ]
    assert count_parameters(build(nodes, {"sizes": np.array([4]), "axis": np.array([0])})) == {3: 4, 4: 4}


def test_numbers_of_a_formula_are_no_parameters() -> None:
    nodes = [
        helper.make_node("Mul", ["x", "scalar"], ["a"]),
        helper.make_node("Pad", ["a", "pads"], ["b"]),
        helper.make_node("Clip", ["b", "low"], ["c"]),
        helper.make_node("Gather", ["c", "places"], ["y"], axis=1),
    ]
    weights = {
        "scalar": np.float32(2),
        "pads": np.zeros(4, np.int64),
        "low": np.zeros((), np.float32),
        "places": np.arange(3),
    }
    assert count_parameters(build(nodes, weights)) == {}


def test_integer_weights_of_quantized_operators_are_parameters_and_their_scales_are_not() -> None:
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "scales"], ["d"], axis=1),
        helper.make_node("MatMul", ["x", "d"], ["a"]),
        helper.make_node("QuantizeLinear", ["a", "scale", "zero"], ["q"]),
        helper.make_node("MatMulInteger", ["q", "v"], ["i"]),
        helper.make_node("Cast", ["i"], ["y"], to=FLOAT),
    ]
    weights = {
        "w": np.ones((4, 5), np.int8),
        "scales": weight(5),
        "scale": np.float32(1),
        "zero": np.int8(0),
        "v": np.ones((5, 6), np.int8),
    }
    assert count_parameters(build(nodes, weights)) == {1: 20, 3: 30}


def test_weights_inside_and_outside_of_a_subgraph_count_at_its_node() -> None:
    def branch(inside: str) -> onnx.GraphProto:
        return helper.make_graph(
            [
                helper.make_node("Add", ["x", "outside"], ["a"]),
                helper.make_node("Add", ["a", inside], [f"out_{inside}"]),
            ],
            inside,
            [],
            [helper.make_tensor_value_info(f"out_{inside}", FLOAT, None)],
            [numpy_helper.from_array(weight(4), inside)],
        )

    nodes = [helper.make_node("If", ["condition"], ["y"], then_branch=branch("yes"), else_branch=branch("no"))]
    graph = build(nodes, {"condition": np.bool_(True), "outside": weight(4)})
    assert count_parameters(graph) == {0: 12}


def test_a_sparse_weight_counts_with_all_its_numbers() -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    model = build(nodes, {"w": weight(4, 5)}).model
    del model.graph.initializer[:]
    values = numpy_helper.from_array(weight(2), "w")
    indices = numpy_helper.from_array(np.array([3, 7]))
    model.graph.sparse_initializer.add(values=values, indices=indices, dims=[4, 5])
    assert count_parameters(Graph(model)) == {0: 20}


def test_depth_is_the_longest_way_from_an_input() -> None:
    nodes = [
        helper.make_node("Neg", ["w"], ["prepared"]),
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Sum", ["x", "b", "prepared"], ["y"]),
    ]
    assert measure_depths(build(nodes, {"w": weight(4)})) == {"x": 0, "a": 1, "b": 2, "y": 3}
