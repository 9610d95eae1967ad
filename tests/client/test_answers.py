from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from strata.v1 import catalog_pb2
from strata.v1.catalog_pb2 import DescribeModelResponse, ModelDescription
from strata.v1.inference_pb2 import GetActivationsResponse, PredictResponse
from strata.v1.tensor_pb2 import Tensor
from strata_client import (
    Activations,
    InvalidArgument,
    Layer,
    ReceptiveField,
    Reduction,
    ServerError,
    _shared,
    tensors,
)


def scores(rows: int, name: str = "predictions") -> Tensor:
    return tensors.write(np.zeros((rows, 2), np.float32), name)


def test_each_row_has_its_labels_best_first() -> None:
    labels = [{"name": "cat", "index": 1, "score": 0.75}, {"name": "dog", "index": 0, "score": 0.25}]
    predictions = _shared.read_predictions(
        PredictResponse(model={"name": "pets", "version": "3"}, outputs=[scores(1)], predictions=[{"labels": labels}])
    )
    (prediction,) = predictions
    assert (predictions.model, predictions.version, len(predictions)) == ("pets", "3", 1)
    assert (prediction.label, prediction.score) == ("cat", 0.75)
    assert [(label.name, label.index, label.score) for label in prediction.labels] == [
        ("cat", 1, 0.75),
        ("dog", 0, 0.25),
    ]
    assert predictions.outputs["predictions"].shape == (1, 2)
    assert predictions[-1:] == (prediction,)


def test_without_labels_every_row_still_has_a_prediction_and_asking_for_one_says_why_not() -> None:
    predictions = _shared.read_predictions(PredictResponse(outputs=[scores(3)]))
    assert [prediction.labels for prediction in predictions] == [(), (), ()]
    with pytest.raises(InvalidArgument, match="no labels were asked: top was 0"):
        _ = predictions[0].label


@pytest.mark.parametrize(
    "response",
    [
        PredictResponse(outputs=[scores(2)], predictions=[{}]),
        PredictResponse(outputs=[scores(1), scores(2, "other")]),
    ],
)
def test_rows_that_do_not_fit_together_are_a_server_error(response: PredictResponse) -> None:
    with pytest.raises(ServerError, match="rows"):
        _shared.read_predictions(response)


@pytest.mark.parametrize("names", [["conv2", "conv1"], ["conv1"], []])
def test_other_layers_than_were_asked_are_a_server_error(names: list[str]) -> None:
    response = GetActivationsResponse(activations=[scores(1, name) for name in names])
    with pytest.raises(ServerError, match="asked were"):
        _shared.read_activations(response, ["conv1", "conv2"])


def test_what_a_description_leaves_out_is_none() -> None:
    description = _shared.read_description(
        DescribeModelResponse(model=ModelDescription(name="a", version="1", inputs=["x"]))
    )
    assert (description.preprocessing, description.training, description.classes) == (None, None, ())
    assert (description.reference, description.entry) == ("a:1", "x")


def test_what_a_description_names_from_the_future_is_unknown_and_no_error() -> None:
    response = DescribeModelResponse(model={"preprocessing": {"input": "x", "scale": 1.0}})
    preprocessing = _shared.read_description(response).preprocessing
    assert preprocessing
    assert (preprocessing.color, preprocessing.resampling) == ("unknown", "unknown")


def answer(**fields: Any) -> Activations:
    return _shared.read_activations(GetActivationsResponse(activations=[scores(2, "a")], **fields), ["a"])


def test_the_channels_and_labels_of_a_layer_stand_beside_its_activation() -> None:
    indices = np.array([[5, 2], [0, 1]], np.int32)
    rows = [{"labels": [{"name": "cat", "index": 1, "score": 0.5}]}, {"labels": []}]
    activations = answer(model={"name": "m", "version": "2"}, channels=[tensors.write(indices, "a")], predictions=rows)
    assert (activations.model, activations.version) == ("m", "2")
    assert (list(activations), len(activations), activations["a"].shape) == (["a"], 1, (2, 2))
    np.testing.assert_array_equal(activations.channels["a"], indices)
    assert [len(row.labels) for row in activations.predictions] == [1, 0]
    assert activations.predictions[0].label == "cat"


@pytest.mark.parametrize(
    "channels",
    [
        tensors.write(np.zeros((2, 2), np.int32), "b"),
        tensors.write(np.zeros((2, 2), np.int64), "a"),
        tensors.write(np.zeros((2, 3), np.int32), "a"),
    ],
    ids=["of another layer", "of another type", "of another shape"],
)
def test_channels_that_are_not_those_of_an_activation_are_a_server_error(channels: Tensor) -> None:
    with pytest.raises(ServerError, match="not those of an activation"):
        answer(channels=[channels])


def test_labels_of_other_rows_are_a_server_error() -> None:
    with pytest.raises(ServerError, match="labels of 1 rows"):
        answer(predictions=[{}])


def read_layer(**fields: Any) -> Layer:
    response = DescribeModelResponse(model={"layers": [{"data_type": "DATA_TYPE_FLOAT32", **fields}]})
    return _shared.read_description(response).layers[0]


def test_a_layer_says_what_it_sees_and_how_it_may_be_reduced() -> None:
    layer = read_layer(
        shape=[-1, 8, 4, 4],
        channel_axis=1,
        receptive_field={"size": [3, 5], "stride": [1, 2]},
        reductions=["REDUCTION_STEP_POOLING", "REDUCTION_STEP_HALF"],
    )
    assert (layer.channel_axis, layer.receptive_field) == (1, ReceptiveField((3, 5), (1, 2)))
    assert layer.reductions == ("pooling", "half")


def test_every_step_that_a_layer_may_name_is_a_field_of_a_reduction() -> None:
    steps = catalog_pb2.ReductionStep.keys()[1:]  # without UNSPECIFIED
    assert read_layer(reductions=steps).reductions == tuple(field.name for field in fields(Reduction))


def test_what_a_layer_leaves_open_is_none() -> None:
    layer = read_layer(unranked=True)
    assert (layer.shape, layer.channel_axis, layer.receptive_field, layer.reductions) == (None, 0, None, ())


@pytest.mark.parametrize("axis", [-1, 0, 2, 99])
def test_an_axis_that_a_layer_lacks_is_as_good_as_none(axis: int) -> None:
    assert read_layer(shape=[-1, 3], channel_axis=axis).channel_axis == 0


def test_a_step_from_the_future_is_left_out() -> None:
    assert read_layer(reductions=[99, 7]).reductions == ("half",)
