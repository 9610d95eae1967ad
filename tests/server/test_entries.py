"""A request enters where it says: at inputs, or at layers in the middle."""

from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from artifacts import assert_close, tiny_answer
from strata.v1 import inference_pb2, tensor_pb2
from strata_server.rpc.open_inference import open_inference_pb2
from wire import Stubs, tensors

Floats = npt.NDArray[np.float32]


def enter(**values: Floats) -> tensor_pb2.Tensors:
    """Return values as they travel, by the names of inputs and layers."""
    each = [tensors(value, name=name).tensors[0] for name, value in values.items()]
    return tensor_pb2.Tensors(tensors=each)


def ask(stubs: Stubs, layers: list[str], **values: Floats) -> dict[str, Floats]:
    request = inference_pb2.GetActivationsRequest(tensors=enter(**values), layers=layers)
    return {
        each.name: np.frombuffer(each.data, np.float32).reshape(each.shape)
        for each in stubs.activations(request).activations
    }


def refusal(stubs: Stubs, layers: list[str], **values: Floats) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        ask(stubs, layers, **values)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    return caught.value.details() or ""


@pytest.mark.parametrize("entry", ["image", "double", "flat", "scores"])
def test_every_layer_is_an_entry(stubs: Stubs, image: Floats, entry: str) -> None:
    whole = tiny_answer(image)
    found = ask(stubs, ["predictions"], **{entry: whole[entry]})
    assert_close(found["predictions"], whole["predictions"])


def test_a_patched_activation_changes_what_follows_and_nothing_before(stubs: Stubs, image: Floats) -> None:
    patch = np.zeros((2, 16), np.float32)
    found = ask(stubs, ["double", "flat", "scores"], image=image, flat=patch)
    assert_close(found["double"], 2 * image)
    assert_close(found["flat"], patch)
    assert_close(found["scores"], np.zeros((2, 3)))


def test_a_prediction_with_labels_may_begin_at_a_layer(stubs: Stubs) -> None:
    scores = np.array([[0, 1, 9]], np.float32)
    answer = stubs.predict(inference_pb2.PredictRequest(tensors=enter(scores=scores), top_k=2))
    assert [label.name for label in answer.predictions[0].labels] == ["star", "square"]


def test_a_layer_is_an_input_of_the_open_inference_protocol(stubs: Stubs, image: Floats) -> None:
    whole = tiny_answer(image)
    entry: dict[str, Any] = {"name": "flat", "datatype": "FP32", "shape": whole["flat"].shape}
    raw = [whole["flat"].tobytes()]
    request = open_inference_pb2.ModelInferRequest(model_name="tiny", inputs=[entry], raw_input_contents=raw)
    answer = stubs.infer(request)
    assert [output.name for output in answer.outputs] == ["predictions"]
    assert_close(np.frombuffer(answer.raw_output_contents[0], np.float32).reshape(2, 3), whole["predictions"])


def test_entries_that_do_not_determine_the_exits_are_refused_with_what_is_missing(stubs: Stubs) -> None:
    scores = np.ones((1, 3), np.float32)
    assert refusal(stubs, ["predictions", "flat"], scores=scores) == (
        "model tiny: 'scores' does not determine 'flat', 'predictions': expected a value for the input 'image' as well"
    )


def test_a_value_that_changes_nothing_asked_is_refused(stubs: Stubs, image: Floats) -> None:
    details = refusal(stubs, ["flat"], image=image, scores=np.ones((2, 3), np.float32))
    assert details == "model tiny: the value for 'scores' changes nothing in 'flat': leave it out"


def test_values_with_other_numbers_of_rows_are_refused(stubs: Stubs, image: Floats) -> None:
    details = refusal(stubs, ["flat", "predictions"], image=image, scores=np.ones((3, 3), np.float32))
    assert "model tiny: expected the same size 'batch' in each value, received" in details


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.ones((1, 17), np.float32), "'flat': expected (-1, 16) float32, received (1, 17) float32"),
        (np.ones((16,), np.float32), "'flat': expected (-1, 16) float32, received (16,) float32"),
    ],
)
def test_an_entry_of_the_wrong_shape_is_refused(stubs: Stubs, value: Floats, expected: str) -> None:
    assert refusal(stubs, ["scores"], flat=value) == f"model tiny: {expected}"
