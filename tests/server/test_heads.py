"""Requests like one before are answered from its head: each must get what it would get as the first of its kind."""

from itertools import product
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from artifacts import SIDE, assert_close, tiny_answer
from strata.v1 import inference_pb2
from strata_server.rpc.open_inference import open_inference_pb2
from wire import Stubs, tensors

Floats = npt.NDArray[np.float32]
LAYERS = ("scores", "double")


def draw(seed: int, rows: int = 2) -> Floats:
    return np.random.default_rng(seed).random((rows, SIDE, SIDE, 1), np.float32)


def write_request(image: Floats, layer: str, **terms: Any) -> open_inference_pb2.ModelInferRequest:
    return open_inference_pb2.ModelInferRequest(
        model_name="tiny",
        inputs=[{"name": "image", "datatype": "FP32", "shape": image.shape}],
        outputs=[{"name": layer}],
        raw_input_contents=[image.tobytes()],
        **terms,
    )


def read_answer(answer: open_inference_pb2.ModelInferResponse) -> Floats:
    (output,), (raw,) = answer.outputs, answer.raw_output_contents
    return np.frombuffer(raw, np.float32).reshape(output.shape)


def test_values_rows_layers_and_versions_change_from_request_to_request(stubs: Stubs) -> None:
    for seed, (rows, layer, version) in enumerate([*product((1, 2, 3), LAYERS, ("", "1", "12"))] * 3):
        image = draw(seed, rows)
        answer = stubs.infer(write_request(image, layer, model_version=version))
        assert (answer.model_version, answer.outputs[0].name) == (version or "12", layer)
        assert_close(read_answer(answer), tiny_answer(image)[layer])


def test_ids_of_any_length_come_back_and_do_not_stick(stubs: Stubs) -> None:
    for identifier in ("", "1", "", "22", "x" * 127, "x" * 128, "ü" * 200, "", "1"):
        answer = stubs.infer(write_request(draw(0), "scores", id=identifier))
        assert answer.id == identifier
        assert_close(read_answer(answer), tiny_answer(draw(0))["scores"])


def test_an_id_that_looks_like_another_field_is_an_id(stubs: Stubs) -> None:
    # Their bytes are those of a model's name, of an input and of raw contents.
    for identifier in ("\n\x04tiny", "*\x02\n\0", ":\x04abcd"):
        for _ in range(2):
            assert stubs.infer(write_request(draw(1), "double", id=identifier)).id == identifier


def test_a_request_like_a_right_one_but_for_its_model_or_layer_or_shape_is_refused(stubs: Stubs) -> None:
    right = write_request(draw(0), "scores")
    wrong_model, wrong_layer, wrong_shape, too_short = (write_request(draw(0), "scores") for _ in range(4))
    wrong_model.model_name = "tinx"
    wrong_layer.outputs[0].name = "scorez"
    wrong_shape.inputs[0].shape[:] = [SIDE, 2, SIDE, 1]
    too_short.raw_input_contents[0] = too_short.raw_input_contents[0][:-4]
    for _ in range(2):
        assert read_answer(stubs.infer(right)).shape == tiny_answer(draw(0))["scores"].shape
        for wrong in (wrong_model, wrong_layer):
            assert refusal(stubs, wrong) is grpc.StatusCode.NOT_FOUND
        for wrong in (wrong_shape, too_short):
            assert refusal(stubs, wrong) is grpc.StatusCode.INVALID_ARGUMENT


def refusal(stubs: Stubs, request: open_inference_pb2.ModelInferRequest) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as caught:
        stubs.infer(request)
    code: grpc.StatusCode = caught.value.code()
    return code


def test_bytes_behind_a_known_request_are_not_taken_for_its_values(stubs: Stubs) -> None:
    image, other = draw(0), draw(1)
    request = write_request(image, "scores")
    for _ in range(2):
        stubs.infer(request)
    # By protobuf's rules a field that comes again is added to those before: two raw contents for one input.
    twice = (
        request.SerializeToString()
        + open_inference_pb2.ModelInferRequest(raw_input_contents=[other.tobytes()]).SerializeToString()
    )
    for _ in range(2):
        with pytest.raises(grpc.RpcError) as caught:
            stubs.call("/inference.GRPCInferenceService/ModelInfer", twice)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_what_is_asked_behind_the_values_counts_each_time(stubs: Stubs) -> None:
    terms: list[dict[str, Any]] = [
        {"layers": ["scores"]},
        {"layers": ["double"]},
        {"layers": ["double"], "priority": 3},
        {"layers": ["double", "scores"]},
        {"layers": ["double"], "reduction": {"pooling": "POOLING_MEAN"}},
        {"layers": ["double"], "reduction": {"pooling": "POOLING_MAX"}},
        {"layers": ["double"], "reduction": {"half": True}},
    ]
    for seed, each in enumerate(terms * 3):
        image = draw(seed)
        answer = stubs.activations(inference_pb2.GetActivationsRequest(tensors=tensors(image), **each))
        whole = tiny_answer(image)
        assert [tensor.name for tensor in answer.activations] == each["layers"]
        for tensor in answer.activations:
            expected = whole[tensor.name]
            match each.get("reduction"):
                case {"pooling": "POOLING_MEAN"}:
                    expected = expected.mean((1, 2))
                case {"pooling": "POOLING_MAX"}:
                    expected = expected.max((1, 2))
                case {"half": True}:
                    expected = expected.astype(np.float16)
            found = np.frombuffer(tensor.data, expected.dtype).reshape(tensor.shape)
            np.testing.assert_allclose(found, expected, rtol=1e-3 if expected.dtype == np.float16 else 1e-6)


def test_statistics_and_top_channels_are_written_whole_each_time(stubs: Stubs) -> None:
    reduction = inference_pb2.Reduction(pooling="POOLING_MEAN", top_channels=1)
    request = inference_pb2.GetActivationsRequest(tensors=tensors(draw(0)), layers=["double"], reduction=reduction)
    first, second, third = (stubs.activations(request).SerializeToString(deterministic=True) for _ in range(3))
    assert first == second == third
    assert inference_pb2.GetActivationsResponse.FromString(first).channels
