import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from artifacts import CLASSES, SIDE, assert_close, tiny_answer
from PIL import Image
from processes import ServerProcess
from strata_client import Client, InvalidArgument, Layer, Model, NotFound, Preprocessing, Reduction
from strata_client.images import Picture
from strata_client.reductions import Reduce

PIXELS = np.arange(SIDE * SIDE, dtype=np.uint8).reshape(SIDE, SIDE) * 16


def test_models_are_listed_by_name_then_version(client: Client) -> None:
    assert client.models() == [Model("tiny", version, 5, 48, 48, 3) for version in ("1", "12")]


def test_layers_are_listed_by_depth(client: Client) -> None:
    layers = client.layers("tiny:1")
    assert [layer.name for layer in layers] == ["image", "double", "flat", "scores", "predictions"]
    assert layers[3] == Layer(
        "scores",
        "Dense",
        (-1, 3),
        np.dtype("float32"),
        48,
        48,
        3,
        default_exit=False,
        channel_axis=1,
        reductions=("channels", "top_channels", "half"),
        data_type="float32",
    )
    assert layers[1].channel_axis == 3
    assert {"space", "pooling", "statistics"} <= set(layers[1].reductions)
    assert "top_labels" in layers[4].reductions


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


def test_a_stored_activation_leads_on_as_the_image_it_came_from(client: Client) -> None:
    image = np.random.default_rng(2).random((3, SIDE, SIDE, 1), np.float32)
    stored = client.activations(image, ["flat"])["flat"]
    assert_close(client.activations({"flat": stored}, ["scores"])["scores"], tiny_answer(image)["scores"])
    from_stored, from_image = client.predict({"flat": stored}), client.predict(image)
    assert [row.labels for row in from_stored] == [row.labels for row in from_image]


def test_a_layer_that_does_not_lead_to_another_is_refused(client: Client) -> None:
    with pytest.raises(InvalidArgument, match="'flat' does not determine 'double'"):
        client.activations({"flat": np.zeros((1, SIDE * SIDE), np.float32)}, ["double"])


@pytest.mark.parametrize(
    ("reduce", "expected"),
    [
        ("mean", lambda double: double.mean((1, 2))),
        ("max", lambda double: double.max((1, 2))),
        (Reduction(space=((0, 2), (1, 4))), lambda double: double[:, 0:2, 1:4]),
        ("max+space:1-3,0-1", lambda double: double[:, 1:3, 0:1].max((1, 2))),
        ("channels:0-1", lambda double: double),
        ("none", lambda double: double),
    ],
)
def test_a_reduced_activation_is_what_numpy_makes_of_the_whole(
    client: Client, reduce: str | Reduction, expected: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
) -> None:
    image = np.random.default_rng(2).random((3, SIDE, SIDE, 1), np.float32)
    assert_close(client.activations(image, ["double"], reduce=reduce)["double"], expected(2 * image))


def test_statistics_are_five_figures_of_each_channel(client: Client) -> None:
    image = np.random.default_rng(2).random((2, SIDE, SIDE, 1), np.float32)
    image[0, 0] = 0
    double = 2 * image
    figures = [
        double.mean((1, 2)),
        double.std((1, 2)),
        double.min((1, 2)),
        double.max((1, 2)),
        (double == 0).mean((1, 2)),
    ]
    assert_close(client.activations(image, ["double"], reduce="statistics")["double"], np.stack(figures, axis=1))


def test_half_the_bytes_are_float16(client: Client) -> None:
    image = np.random.default_rng(2).random((2, SIDE, SIDE, 1), np.float32)
    half = client.activations(image, ["double"], reduce="half")["double"]
    np.testing.assert_array_equal(half, (2 * image).astype(np.float16))
    assert half.dtype == np.float16


def test_each_layer_has_its_own_reduction_and_what_is_not_named_is_whole(client: Client) -> None:
    image = np.random.default_rng(2).random((2, SIDE, SIDE, 1), np.float32)
    expected = tiny_answer(image)
    reduce: Reduce = {"double": "mean", "scores": "top:2", "predictions": Reduction(top_labels=1)}
    found = client.activations(image, ["scores", "flat", "predictions", "double"], model="tiny:1", reduce=reduce)
    assert (found.model, found.version) == ("tiny", "1")
    assert {name: values.shape for name, values in found.items()} == {
        "scores": (2, 2),
        "flat": (2, SIDE * SIDE),
        "predictions": (2, 1),
        "double": (2, 1),
    }
    best = np.argsort(-expected["scores"], axis=1)
    assert set(found.channels) == {"scores", "predictions"}
    np.testing.assert_array_equal(found.channels["scores"], best[:, :2])
    assert_close(found["scores"], np.take_along_axis(expected["scores"], best[:, :2], axis=1))
    assert [row.label for row in found.predictions] == [CLASSES[row[0]] for row in best]


def test_a_step_that_a_layer_does_not_have_is_refused_with_its_name(client: Client) -> None:
    image = np.zeros((1, SIDE, SIDE, 1), np.float32)
    with pytest.raises(InvalidArgument, match="'scores'"):
        client.activations(image, ["double", "scores"], reduce="mean")


def test_nothing_is_converted_for_the_caller(client: Client) -> None:
    with pytest.raises(InvalidArgument, match=r"expected .*float32, received .*float64"):
        client.predict(np.zeros((1, SIDE, SIDE, 1)))


def test_an_unknown_layer_is_not_found_with_the_nearest_name(client: Client) -> None:
    with pytest.raises(NotFound, match="model tiny: unknown layer 'doubel'; nearest: 'double'"):
        client.activations(np.zeros((1, SIDE, SIDE, 1), np.float32), layers=["doubel"])


def test_an_unknown_version_is_not_found(client: Client) -> None:
    with pytest.raises(NotFound, match="2"):
        client.layers("tiny:2")


def test_a_server_says_that_it_serves(client: Client, tiny: ServerProcess) -> None:
    health = client.health()
    assert (health.serving, health.servers) == (True, {tiny.grpc: "serving"})
