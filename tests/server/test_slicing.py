from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from artifacts import assert_close, tiny_answer, tiny_model
from onnx import TensorProto, helper, numpy_helper
from strata_server.errors import InvalidArgument
from strata_server.graph import Graph
from strata_server.slicing import Part, Slicer

FLOAT = TensorProto.FLOAT
Floats = npt.NDArray[np.float32]


def run(model: onnx.ModelProto, **values: npt.NDArray[np.generic]) -> dict[str, npt.NDArray[np.generic]]:
    """Run a model as onnxruntime does, after onnx itself has found nothing wrong with it."""
    if all(output.type.tensor_type.HasField("shape") for output in model.graph.output):  # the checker wants them
        onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, values), strict=True))


def make(
    nodes: list[onnx.NodeProto],
    inputs: Mapping[str, list[Any]],
    outputs: Mapping[str, int],
    weights: Mapping[str, npt.NDArray[Any]],
    opset: int = 18,
) -> onnx.ModelProto:
    """Return a model; outputs have a type, and a shape that follows."""
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize(
    ("entries", "exits", "expected"),
    [
        (["image"], ["double"], ["Mul"]),
        (["image"], ["flat"], ["Mul", "Reshape"]),
        (["image"], ["predictions"], ["Mul", "Reshape", "MatMul", "Softmax"]),
        (["image"], ["double", "scores"], ["Mul", "Reshape", "MatMul"]),
        (["double"], ["scores"], ["Reshape", "MatMul"]),
        (["scores"], ["predictions"], ["Softmax"]),
        (["image", "scores"], ["flat", "predictions"], ["Mul", "Reshape", "Softmax"]),
    ],
)
def test_a_slice_holds_only_what_lies_between(entries: list[str], exits: list[str], expected: list[str]) -> None:
    slicer = Slicer(Graph(tiny_model()))
    model = slicer.cut(slicer.find(entries, exits))
    assert operators(model) == expected
    assert [entry.name for entry in model.graph.input] == sorted(entries)
    assert {output.name for output in model.graph.output} == set(exits)
    needs_weights = "MatMul" in expected
    assert ("weights" in {tensor.name for tensor in model.graph.initializer}) is needs_weights


def test_a_slice_from_the_middle_computes_what_the_whole_does() -> None:
    image = np.random.default_rng(0).random((3, 4, 4, 1), np.float32)
    slicer, whole = Slicer(Graph(tiny_model())), tiny_answer(image)
    for entry in ("double", "flat", "scores"):
        found = run(slicer.cut(slicer.find([entry], ["predictions"])), **{entry: whole[entry]})
        assert_close(found["predictions"], whole["predictions"])


def test_an_entry_that_nothing_depends_on_is_no_part_of_the_slice() -> None:
    part = Slicer(Graph(tiny_model())).find(["image", "flat"], ["scores"])
    assert part.slice.entries == {"flat"}


@pytest.mark.parametrize(
    ("entries", "exits", "message"),
    [
        (["scores"], ["flat"], "'scores' does not determine 'flat': expected a value for the input 'image' as well"),
        (["flat", "scores"], ["double", "predictions"], "'flat', 'scores' do not determine"),
        ([], ["flat"], "expected a value for the input 'image', received none"),
    ],
)
def test_entries_that_do_not_determine_the_exits_are_refused(
    entries: list[str], exits: list[str], message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        Slicer(Graph(tiny_model())).find(entries, exits)


def flatten_by_shape(opset: int = 18, **attributes: Any) -> onnx.ModelProto:
    """Return what tf2onnx makes of a flatten: it asks the network's input for the batch size."""
    nodes = [
        helper.make_node("Relu", ["image"], ["relu"]),
        helper.make_node("MaxPool", ["relu"], ["pool"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Shape", ["image"], ["shape"], **attributes),
        helper.make_node("Gather", ["shape", "first"], ["batch"], axis=0),
        helper.make_node("Concat", ["batch", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["pool", "target"], ["flat"]),
        helper.make_node("Neg", ["flat"], ["negative"]),
    ]
    weights = {"first": np.array([0]), "rest": np.array([-1])}
    return make(nodes, {"image": [None, 2, 4, 4]}, {"negative": FLOAT, "flat": FLOAT}, weights, opset)


@pytest.mark.parametrize("attributes", [{}, {"start": 0, "end": 1}, {"end": -3}, {"start": -4}])
def test_to_need_only_the_shape_of_the_input_is_not_to_need_it(attributes: dict[str, int]) -> None:
    slicer = Slicer(Graph(flatten_by_shape(**attributes)))
    pooled = np.random.default_rng(0).normal(size=(3, 2, 2, 2)).astype(np.float32)
    part = slicer.find(["pool"], ["negative"])
    assert part.slice.entries == {"pool"}
    found = run(slicer.cut(part), pool=pooled)
    np.testing.assert_array_equal(found["negative"], -pooled.reshape(3, 8))


def test_the_oldest_opset_with_shapes_is_told_them_too() -> None:
    slicer = Slicer(Graph(flatten_by_shape(opset=8)))
    pooled = np.ones((5, 2, 2, 2), np.float32)
    found = run(slicer.cut(slicer.find(["pool"], ["flat"])), pool=pooled)
    assert found["flat"].shape == (5, 8)


def test_a_shape_that_the_entries_do_not_tell_still_needs_the_input() -> None:
    model = flatten_by_shape()
    model.graph.input[0].type.tensor_type.shape.dim[2].Clear()  # a height that only the image has
    with pytest.raises(InvalidArgument, match=r"'pool' does not determine 'negative'.* the input 'image'"):
        Slicer(Graph(model)).find(["pool"], ["negative"])


def test_a_layer_is_not_computed_for_its_shape_alone() -> None:
    nodes = [
        helper.make_node("Exp", ["image"], ["costly"]),
        helper.make_node("Shape", ["costly"], ["shape"]),
        helper.make_node("Reshape", ["image", "shape"], ["same"]),
    ]
    slicer = Slicer(Graph(make(nodes, {"image": ["batch", 3]}, {"same": FLOAT, "costly": FLOAT}, {})))
    assert "Exp" not in operators(slicer.cut(slicer.find(["image"], ["same"])))
    both = slicer.cut(slicer.find(["image"], ["same", "costly"]))
    assert operators(both) == ["Exp", "Shape", "Reshape"]


def branching() -> onnx.ModelProto:
    """Return a model of two inputs, a residual branch, and a branch that an If takes."""
    chosen = [
        helper.make_graph(
            [helper.make_node(operator, ["sum"], [output])],
            output,
            [],
            [helper.make_tensor_value_info(output, FLOAT, None)],
        )
        for operator, output in (("Neg", "yes"), ("Exp", "no"))
    ]
    nodes = [
        helper.make_node("Relu", ["left"], ["branch"]),
        helper.make_node("Add", ["branch", "left"], ["residual"]),
        helper.make_node("Add", ["residual", "right"], ["sum"]),
        helper.make_node("ReduceSum", ["flag"], ["total"], keepdims=0),
        helper.make_node("Cast", ["total"], ["condition"], to=TensorProto.BOOL),
        helper.make_node("If", ["condition"], ["chosen"], then_branch=chosen[0], else_branch=chosen[1]),
    ]
    inputs: dict[str, list[str | int | None]] = {"left": ["batch", 3], "right": ["batch", 3], "flag": [1]}
    return make(nodes, inputs, {"chosen": FLOAT, "sum": FLOAT}, {})


def test_what_a_subgraph_takes_from_outside_is_part_of_the_slice() -> None:
    slicer = Slicer(Graph(branching()))
    part = slicer.find(["sum", "flag"], ["chosen"])
    value = np.array([[1, 2, 3]], np.float32)
    assert part.slice.entries == {"sum", "flag"}
    np.testing.assert_array_equal(run(slicer.cut(part), sum=value, flag=np.ones(1, np.float32))["chosen"], -value)
    with pytest.raises(InvalidArgument, match="expected a value for the input 'left', 'right' as well"):
        slicer.find(["flag"], ["chosen"])


def test_a_residual_needs_both_of_its_branches() -> None:
    slicer = Slicer(Graph(branching()))
    assert slicer.find(["left"], ["residual"]).slice.entries == {"left"}
    with pytest.raises(InvalidArgument, match=r"'branch' does not determine 'residual'.* 'left'"):
        slicer.find(["branch"], ["residual"])
    part = slicer.find(["branch", "left"], ["residual"])
    assert operators(slicer.cut(part)) == ["Add"]


def test_one_node_with_two_outputs_is_one_node() -> None:
    nodes = [
        helper.make_node("Split", ["x"], ["head", "tail"], axis=1, num_outputs=2),
        helper.make_node("Neg", ["tail"], ["end"]),
    ]
    slicer = Slicer(Graph(make(nodes, {"x": ["batch", 4]}, {"head": FLOAT, "end": FLOAT}, {})))
    model = slicer.cut(slicer.find(["x"], ["head", "end"]))
    assert operators(model) == ["Split", "Neg"]
    entered = slicer.cut(slicer.find(["tail"], ["end"]))
    assert operators(entered) == ["Neg"]


def test_an_exit_beside_an_entry_of_the_same_node_is_computed_from_what_comes_before() -> None:
    nodes = [helper.make_node("Split", ["x"], ["head", "tail"], axis=1, num_outputs=2)]
    slicer = Slicer(Graph(make(nodes, {"x": ["batch", 4]}, {"head": FLOAT, "tail": FLOAT}, {})))
    with pytest.raises(InvalidArgument, match="'x'"):
        slicer.find(["head"], ["tail"])


def test_a_chain_of_fifty_thousand_nodes_is_walked() -> None:
    nodes = [helper.make_node("Relu", [f"t{place}"], [f"t{place + 1}"]) for place in range(50_000)]
    model = make(nodes, {"t0": ["batch", 3]}, {"t50000": FLOAT}, {})
    part: Part = Slicer(Graph(model)).find(["t0"], ["t50000"])
    assert len(part.nodes) == 50_000


def channels_last() -> onnx.ModelProto:
    """Return a convolution as Keras has it: channels last, its normalization and activation after the layout."""
    nodes = [
        helper.make_node("Transpose", ["image"], ["first"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["first", "kernel"], ["conv_first"], kernel_shape=[3, 3]),
        helper.make_node("Transpose", ["conv_first"], ["conv"], perm=[0, 2, 3, 1]),
        helper.make_node("Mul", ["conv", "scale"], ["scaled"]),
        helper.make_node("Sub", ["shift", "scaled"], ["shifted"]),
        helper.make_node("Relu", ["shifted"], ["relu"]),
        helper.make_node("Add", ["relu", "plane"], ["end"]),
    ]
    random = np.random.default_rng(5)
    weights: dict[str, npt.NDArray[np.generic]] = {
        "kernel": random.normal(size=(4, 2, 3, 3)).astype(np.float32),
        "scale": random.normal(size=4).astype(np.float32),
        "shift": random.normal(size=(1, 1, 1, 4)).astype(np.float32),
        "plane": random.normal(size=(3, 4)).astype(np.float32),  # not alike for all places of a channel
    }
    exits = dict.fromkeys(("conv", "scaled", "shifted", "relu", "end"), FLOAT)
    return make(nodes, {"image": ["batch", 5, 5, 2]}, exits, weights)


@pytest.mark.parametrize(
    ("exits", "expected"),
    [
        (["end"], ["Mul", "Sub", "Relu", "Transpose", "Add"]),
        (["relu"], ["Mul", "Sub", "Relu", "Transpose"]),
        (["conv"], ["Transpose"]),
        (["conv", "relu"], ["Transpose", "Mul", "Sub", "Relu"]),
        (["scaled", "relu"], ["Mul", "Transpose", "Sub", "Relu"]),
    ],
)
def test_a_layout_changes_after_what_does_not_care_and_every_value_stays(exits: list[str], expected: list[str]) -> None:
    model = channels_last()
    image = np.random.default_rng(6).normal(size=(2, 5, 5, 2)).astype(np.float32)
    slicer = Slicer(Graph(model))
    cut = slicer.cut(slicer.find(["image"], exits))
    after = operators(cut)[operators(cut).index("Conv") + 1 :]
    assert [operator for operator in after if operator not in {"Constant", "Reshape"}] == expected
    found, whole = run(cut, image=image), run(model, image=image)
    for name in exits:
        assert_close(found[name], np.asarray(whole[name]))
