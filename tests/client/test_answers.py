import numpy as np
import pytest
from strata.v1.catalog_pb2 import DescribeModelResponse, ModelDescription
from strata.v1.inference_pb2 import GetActivationsResponse, PredictResponse
from strata.v1.tensor_pb2 import Tensor
from strata_client import InvalidArgument, ServerError, _shared, tensors


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
