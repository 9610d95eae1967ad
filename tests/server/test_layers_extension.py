"""The extension `layers`: what is done to a layer before it is sent, asked for by parameters."""

from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from artifacts import CLASSES, assert_close, tiny_answer
from open_inference import read_values, refusal_of, write_parameters, write_request
from wire import Stubs

Floats = npt.NDArray[np.float32]


def ask(stubs: Stubs, image: Floats, outputs: Any, **fields: Any) -> dict[str, Any]:
    return read_values(stubs.infer(write_request(image, outputs, **fields)))


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_a_layer_is_pooled(stubs: Stubs, image: Floats, pooling: str) -> None:
    pooled = ask(stubs, image, {"double": {"pooling": pooling}})["double"]
    assert_close(pooled, getattr(tiny_answer(image)["double"], pooling)((1, 2)))


def test_statistics_have_five_numbers_for_each_channel(stubs: Stubs, image: Floats) -> None:
    figures = ask(stubs, image, {"double": {"statistics": True}})["double"]
    double = tiny_answer(image)["double"]
    assert figures.shape == (2, 5, 1)
    assert_close(figures[:, 0], double.mean((1, 2)))
    assert_close(figures[:, 3], double.max((1, 2)))


def test_ranges_of_space_and_channels_are_kept(stubs: Stubs, image: Floats) -> None:
    values = ask(stubs, image, {"double": {"space": "0:2, 1:4"}, "flat": {"channels": "3:7"}})
    assert_close(values["double"], tiny_answer(image)["double"][:, 0:2, 1:4])
    assert_close(values["flat"], tiny_answer(image)["flat"][:, 3:7])


def test_top_channels_come_with_their_indices(stubs: Stubs, image: Floats) -> None:
    answer = stubs.infer(write_request(image, {"flat": {"top_channels": 3}}))
    assert [(output.name, output.datatype) for output in answer.outputs] == [
        ("flat", "FP32"),
        ("flat.channels", "INT32"),
    ]
    values, flat = read_values(answer), tiny_answer(image)["flat"]
    np.testing.assert_array_equal(values["flat.channels"], np.argsort(-flat, axis=1, kind="stable")[:, :3])
    assert_close(values["flat"], np.take_along_axis(flat, values["flat.channels"], 1))


def test_top_labels_come_with_indices_and_names(stubs: Stubs, image: Floats) -> None:
    values = ask(stubs, image, {"predictions": {"top_labels": 2}})
    indices = values["predictions.channels"]
    assert list(values) == ["predictions", "predictions.channels", "predictions.labels"]
    assert values["predictions.labels"] == [[CLASSES[index] for index in row] for row in indices]


def test_half_precision_is_fp16(stubs: Stubs, image: Floats) -> None:
    values = ask(stubs, image, {"flat": {"half": True}, "double": {"pooling": "mean", "half": True}})
    assert {value.dtype for value in values.values()} == {np.dtype(np.float16)}
    np.testing.assert_array_equal(values["flat"], tiny_answer(image)["flat"].astype(np.float16))


def test_a_requests_own_parameters_hold_for_each_output_without_any(stubs: Stubs, image: Floats) -> None:
    outputs = {"flat": {}, "scores": {"channels": "0:1"}}
    values = ask(stubs, image, outputs, parameters=write_parameters({"half": True}))
    assert (values["flat"].dtype, values["scores"].dtype) == (np.float16, np.float32)
    assert values["scores"].shape == (2, 1)


def test_a_requests_own_parameters_hold_for_the_prediction(stubs: Stubs, image: Floats) -> None:
    values = ask(stubs, image, {}, parameters=write_parameters({"top_labels": 1}))
    assert list(values) == ["predictions", "predictions.channels", "predictions.labels"]


def test_a_layer_is_entered_and_another_reduced(stubs: Stubs, image: Floats) -> None:
    flat = tiny_answer(image)["flat"]
    entry = {"name": "flat", "datatype": "FP32", "shape": flat.shape}
    values = ask(stubs, image, {"scores": {"top_channels": 1}}, inputs=[entry], raw_input_contents=[flat.tobytes()])
    assert_close(values["scores"], tiny_answer(image)["scores"].max(axis=1, keepdims=True))


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"pooling": "median"}, "'pooling': expected mean or max, received 'median'"),
        ({"pooling": True}, "expected mean or max, received True"),
        ({"statistics": 1}, "'statistics': expected true or false, received 1"),
        ({"channels": "4"}, "'channels': expected START:STOP"),
        ({"channels": "0:1,0:1"}, "expected one range, received 2"),
        ({"channels": "-1:1"}, "expected START:STOP"),
        ({"channels": "0:17"}, "for a range of dimension 1, received start 0, stop 17"),
        ({"top_channels": 2**40}, None),
        ({"top_channels": 1.0}, "expected a whole number from 0 up, received 1.0"),
        ({"top_labels": 1}, "the reductions of this layer are: channels, top_channels, half; received top_labels"),
        ({"space": "0:1"}, "the reductions of this layer are"),
        ({"top_channels": 1, "statistics": True}, "the reductions of this layer are"),
        ({"reduce": "mean"}, "output 'flat': unknown parameter 'reduce'; known are classification, channels, space"),
        ({"priority": 1}, "unknown parameter 'priority'"),
    ],
)
def test_a_reduction_that_cannot_be_meant_is_refused(
    stubs: Stubs, image: Floats, parameters: Any, reason: str | None
) -> None:
    request = write_request(image, {"flat": parameters})
    if reason is None:  # more than there are means all
        assert read_values(stubs.infer(request))["flat"].shape == (2, 16)
        return
    code, details = refusal_of(stubs.infer, request)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert reason in details


def test_unknown_parameters_of_requests_and_inputs_are_named_beside_the_known(stubs: Stubs, image: Floats) -> None:
    for fields, reason in (
        ({"parameters": write_parameters({"temperature": 1.0})}, "request: unknown parameter 'temperature'; known are"),
        (
            {
                "inputs": [
                    {
                        "name": "image",
                        "datatype": "FP32",
                        "shape": image.shape,
                        "parameters": write_parameters({"scale": 2}),
                    }
                ]
            },
            "input 'image': unknown parameter 'scale'; known are shared_memory_region",
        ),
    ):
        code, details = refusal_of(stubs.infer, write_request(image, {}, **fields))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert reason in details


def test_a_parameter_without_a_value_is_refused(stubs: Stubs, image: Floats) -> None:
    code, details = refusal_of(stubs.infer, write_request(image, {}, parameters={"timeout": {}}))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "the parameter 'timeout': expected a value, received none" in details


def test_what_other_clients_send_along_changes_nothing(stubs: Stubs, image: Floats) -> None:
    tensor = {
        "name": "image",
        "datatype": "FP32",
        "shape": image.shape,
        "parameters": write_parameters({"binary_data_size": image.nbytes, "content_type": "np"}),
    }
    values = ask(
        stubs,
        image,
        {"scores": {"binary_data": True}},
        inputs=[tensor],
        parameters=write_parameters({"binary_data_output": True, "content_type": "np"}),
    )
    assert_close(values["scores"], tiny_answer(image)["scores"])
