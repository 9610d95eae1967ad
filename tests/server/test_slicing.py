import onnx
import pytest
from artifacts import tiny_model
from strata_server.slicing import Slice, Slicer


@pytest.mark.parametrize(
    ("exits", "operators"),
    [
        (["double"], ["Mul"]),
        (["flat"], ["Mul", "Reshape"]),
        (["predictions"], ["Mul", "Reshape", "MatMul", "Softmax"]),
        (["double", "scores"], ["Mul", "Reshape", "MatMul"]),
    ],
)
def test_a_slice_holds_only_what_its_exits_need(exits: list[str], operators: list[str]) -> None:
    model = onnx.load_from_string(Slicer(tiny_model()).cut(Slice.between(["image"], exits)))
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == operators
    assert {output.name for output in model.graph.output} == set(exits)
    needs_weights = "MatMul" in operators
    assert ("weights" in {tensor.name for tensor in model.graph.initializer}) is needs_weights
