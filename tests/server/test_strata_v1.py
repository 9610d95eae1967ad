import io

import numpy as np
import numpy.typing as npt
import pytest
from artifacts import CLASSES, SIDE, assert_close, tiny_answer
from PIL import Image
from strata.v1 import catalog_pb2, inference_pb2, tensor_pb2
from wire import Stubs, tensors

Floats = npt.NDArray[np.float32]


def read(tensor: tensor_pb2.Tensor) -> Floats:
    assert tensor.data_type == tensor_pb2.DATA_TYPE_FLOAT32
    return np.frombuffer(tensor.data, np.float32).reshape(tensor.shape)


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_every_version_is_listed_by_name_and_number(stubs: Stubs) -> None:
    models = stubs.catalog.ListModels(catalog_pb2.ListModelsRequest()).models
    assert [(model.name, model.version) for model in models] == [("tiny", "1"), ("tiny", "12")]
    assert [(m.layer_count, m.parameters, m.multiply_adds, m.class_count) for m in models] == [(5, 48, 48, 3)] * 2


def test_a_description_holds_the_catalog_and_what_the_artifact_says_of_itself(stubs: Stubs) -> None:
    request = catalog_pb2.DescribeModelRequest(model=catalog_pb2.ModelReference(name="tiny", version="1"))
    model = stubs.catalog.DescribeModel(request).model
    assert [layer.name for layer in model.layers] == ["image", "double", "flat", "scores", "predictions"]
    scores = model.layers[3]
    assert (scores.kind, list(scores.shape), scores.depth) == ("Dense", [-1, 3], 3)
    assert scores.data_type == tensor_pb2.DATA_TYPE_FLOAT32
    assert [layer.name for layer in model.layers if layer.default_exit] == ["predictions"]
    assert (list(model.inputs), list(model.classes)) == (["image"], list(CLASSES))
    assert model.preprocessing.color == catalog_pb2.COLOR_GRAYSCALE
    assert model.training.test_accuracy == 0.5
    assert len(model.digest) == 64


def test_no_version_means_the_highest_number_not_the_last_in_the_alphabet(stubs: Stubs) -> None:
    reference = catalog_pb2.ModelReference(name="tiny")
    described = stubs.catalog.DescribeModel(catalog_pb2.DescribeModelRequest(model=reference)).model
    assert described.version == "12"


def test_no_name_means_the_only_model(stubs: Stubs, image: Floats) -> None:
    answer = stubs.predict(inference_pb2.PredictRequest(tensors=tensors(image)))
    assert (answer.model.name, answer.model.version) == ("tiny", "12")


def test_a_prediction_equals_numpy(stubs: Stubs, image: Floats) -> None:
    answer = stubs.predict(inference_pb2.PredictRequest(tensors=tensors(image, name="image")))
    assert [output.name for output in answer.outputs] == ["predictions"]
    assert_close(read(answer.outputs[0]), tiny_answer(image)["predictions"])
    assert not answer.predictions


def test_labels_come_best_first_with_their_scores(stubs: Stubs, image: Floats) -> None:
    answer = stubs.predict(inference_pb2.PredictRequest(tensors=tensors(image), top_k=2))
    for labels, scores in zip(answer.predictions, tiny_answer(image)["predictions"], strict=True):
        order = np.argsort(-scores)[:2]
        assert [label.index for label in labels.labels] == order.tolist()
        assert [label.name for label in labels.labels] == [CLASSES[index] for index in order]
        assert_close([label.score for label in labels.labels], scores[order])


def test_more_labels_than_classes_means_all(stubs: Stubs, image: Floats) -> None:
    answer = stubs.predict(inference_pb2.PredictRequest(tensors=tensors(image), top_k=1000))
    assert [len(prediction.labels) for prediction in answer.predictions] == [3, 3]


def test_every_layer_is_answered_in_the_order_asked(stubs: Stubs, image: Floats) -> None:
    wanted = ["scores", "image", "predictions", "double", "flat"]
    request = inference_pb2.GetActivationsRequest(tensors=tensors(image), layers=wanted)
    answer = stubs.activations(request)
    assert [tensor.name for tensor in answer.activations] == wanted
    for tensor in answer.activations:
        assert_close(read(tensor), tiny_answer(image)[tensor.name])


def test_pictures_enter_as_the_manifest_says(stubs: Stubs) -> None:
    pixels = np.arange(SIDE * SIDE, dtype=np.uint8).reshape(SIDE, SIDE) * 16
    request = inference_pb2.GetActivationsRequest(
        images=tensor_pb2.Images(encoded=[png(pixels), png(255 - pixels)]), layers=["image"]
    )
    seen = read(stubs.activations(request).activations[0])
    expected = np.stack([pixels, 255 - pixels])[..., np.newaxis] / 255
    assert_close(seen, expected)


def test_an_activation_passes_nan_and_infinity_as_they_are(stubs: Stubs, image: Floats) -> None:
    image[0, 0, 0, 0], image[1, 3, 3, 0] = np.nan, np.inf
    request = inference_pb2.GetActivationsRequest(tensors=tensors(image), layers=["double"])
    np.testing.assert_array_equal(read(stubs.activations(request).activations[0]), 2 * image)


@pytest.mark.parametrize("rows", [1, 7, 300])
def test_any_number_of_rows_is_one_batch(stubs: Stubs, rows: int) -> None:
    batch = np.random.default_rng(rows).random((rows, SIDE, SIDE, 1), np.float32)
    answer = stubs.predict(inference_pb2.PredictRequest(tensors=tensors(batch), top_k=1))
    assert_close(read(answer.outputs[0]), tiny_answer(batch)["predictions"])
    assert len(answer.predictions) == rows
