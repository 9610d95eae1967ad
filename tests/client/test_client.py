import io
from pathlib import Path

import numpy as np
import pytest
from artifacts import CLASSES, SIDE, assert_close, tiny_answer
from PIL import Image
from strata_client import Client, InvalidArgument, Layer, Model, NotFound, Preprocessing
from strata_client.images import Picture

PIXELS = np.arange(SIDE * SIDE, dtype=np.uint8).reshape(SIDE, SIDE) * 16


def test_models_are_listed_by_name_then_version(client: Client) -> None:
    assert client.models() == [Model("tiny", version, 5, 48, 48, 3) for version in ("1", "12")]


def test_layers_are_listed_by_depth(client: Client) -> None:
    layers = client.layers("tiny:1")
    assert [layer.name for layer in layers] == ["image", "double", "flat", "scores", "predictions"]
    assert layers[3] == Layer("scores", "Dense", (-1, 3), np.dtype("float32"), 48, 48, 3, default_exit=False)


def test_a_description_says_what_a_model_takes_and_how_it_was_made(client: Client) -> None:
    description = client.describe()
    assert (description.name, description.version, description.inputs) == ("tiny", "12", ("image",))
    assert description.classes == CLASSES
    assert len(description.digest) == 64
    assert description.preprocessing == Preprocessing("image", "grayscale", "bilinear", 1 / 255, (), ())
    assert description.training
    assert (description.training.data, description.training.test_accuracy) == ("shapes", 0.5)


def test_the_prediction_of_an_array_is_what_numpy_computes(client: Client) -> None:
    image = np.random.default_rng(1).random((2, SIDE, SIDE, 1), np.float32)
    expected = tiny_answer(image)["predictions"]
    predictions = client.predict(image, top=2)
    assert (predictions.model, predictions.version) == ("tiny", "12")
    assert_close(predictions.outputs["predictions"], expected)
    assert [prediction.label for prediction in predictions] == [CLASSES[row.argmax()] for row in expected]
    assert [len(prediction.labels) for prediction in predictions] == [2, 2]
    assert predictions[0].score == expected[0].max()


def test_every_form_of_a_picture_gives_the_same_answer(client: Client, picture: Path, encoded: io.BytesIO) -> None:
    pictures: list[Picture] = [picture, str(picture), encoded.getvalue(), Image.open(encoded)]
    rows = client.activations(pictures, layers=["image"])["image"]
    assert_close(rows, np.stack([PIXELS[..., None] / 255] * 4))
    single = client.activations(picture, layers=["image"])["image"]
    np.testing.assert_array_equal(single, rows[:1])


def test_a_mapping_is_the_same_as_an_array(client: Client) -> None:
    image = np.random.default_rng(1).random((1, SIDE, SIDE, 1), np.float32)
    named, unnamed = (client.activations(inputs, layers=["scores"]) for inputs in ({"image": image}, image))
    np.testing.assert_array_equal(named["scores"], unnamed["scores"])


def test_activations_come_in_the_order_asked(client: Client) -> None:
    image = np.random.default_rng(1).random((3, SIDE, SIDE, 1), np.float32)
    activations = client.activations(image, layers=["scores", "double"], model="tiny:1")
    assert list(activations) == ["scores", "double"]
    for name, values in activations.items():
        assert_close(values, tiny_answer(image)[name])


def test_nothing_is_converted_for_the_caller(client: Client) -> None:
    with pytest.raises(InvalidArgument, match=r"expected .*float32, received .*float64"):
        client.predict(np.zeros((1, SIDE, SIDE, 1)))


def test_an_unknown_layer_is_not_found_with_the_nearest_name(client: Client) -> None:
    with pytest.raises(NotFound, match="unknown layer 'doubel'; nearest: 'double'"):
        client.activations(np.zeros((1, SIDE, SIDE, 1), np.float32), layers=["doubel"])


def test_an_unknown_version_is_not_found(client: Client) -> None:
    with pytest.raises(NotFound, match="2"):
        client.layers("tiny:2")


def test_a_server_says_whether_it_serves(client: Client) -> None:
    assert client.is_serving()
