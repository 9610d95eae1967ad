"""The whole line: the digits CNN trained, exported, served and asked, against Keras."""

import csv
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
import strata_client
from artifacts import assert_close
from conftest import Digits
from PIL import Image
from processes import ServerProcess

Floats = npt.NDArray[np.float32]

# name: (kind, shape, parameters, multiply-adds), each from the formula beside it.
NETWORK = {
    "image": ("InputLayer", (-1, 28, 28, 1), 0, 0),
    "conv1": ("Conv2D", (-1, 28, 28, 25), (3 * 3 * 1 + 1) * 25, 28 * 28 * 25 * 3 * 3 * 1),
    "pool1": ("MaxPooling2D", (-1, 14, 14, 25), 0, 0),
    "conv2": ("Conv2D", (-1, 14, 14, 50), (3 * 3 * 25 + 1) * 50, 14 * 14 * 50 * 3 * 3 * 25),
    "pool2": ("MaxPooling2D", (-1, 7, 7, 50), 0, 0),
    "flatten": ("Flatten", (-1, 2450), 0, 0),
    "dense1": ("Dense", (-1, 128), (2450 + 1) * 128, 2450 * 128),
    "dropout": ("Dropout", (-1, 128), 0, 0),
    "predictions": ("Dense", (-1, 10), (128 + 1) * 10, 128 * 10),
}


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> Any:
    with strata_client.Client(server.grpc) as client:
        yield client


@pytest.fixture(scope="module")
def pictures(digits: Digits) -> list[Path]:
    """Four held-out digits."""
    return [digits.sample(digit) for digit in (0, 3, 5, 7)]


@pytest.fixture(scope="module")
def batch(pictures: list[Path]) -> Floats:
    pixels = np.stack([np.asarray(Image.open(picture), np.float32) for picture in pictures])
    return pixels[..., np.newaxis] / np.float32(255)


@pytest.fixture(scope="module")
def by_keras(digits: Digits, batch: Floats) -> dict[str, Floats]:
    """Every layer's activation, as Keras computes it."""
    model = keras.saving.load_model(digits.run / "model.keras")
    layers = {layer.name: layer.output for layer in model.layers if layer.name != "image"}
    return {name: np.asarray(value) for name, value in keras.Model(model.inputs, layers)([batch]).items()}


def test_the_held_out_accuracy_is_at_least_98_percent_on_a_fifth_of_the_data(digits: Digits) -> None:
    run = json.loads((digits.run / "run.json").read_text())
    figures = run.get("training", run)
    assert figures["test_accuracy"] >= 0.98
    assert figures["test_rows"] >= 0.2 * 1797
    assert f"{figures['test_accuracy']:.4f}"[:5] in digits.fit_output


def test_the_history_has_a_row_for_each_epoch(digits: Digits) -> None:
    with (digits.run / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == list(range(1, len(rows) + 1))
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])


def test_the_export_prints_the_parity_of_every_layer(digits: Digits) -> None:
    for name in NETWORK.keys() - {"image"}:
        assert name in digits.export_output


def test_the_catalog_is_the_network(client: strata_client.Client) -> None:
    layers = client.layers("digits")
    assert {layer.name: (layer.kind, layer.shape, layer.parameters, layer.multiply_adds) for layer in layers} == NETWORK
    assert [layer.depth for layer in layers] == list(range(9))
    assert [layer.name for layer in layers if layer.default_exit] == ["predictions"]
    assert {layer.dtype for layer in layers} == {np.dtype(np.float32)}


def test_the_description_tells_what_the_training_reached(client: strata_client.Client) -> None:
    description = client.describe("digits")
    assert list(description.classes) == [str(digit) for digit in range(10)]
    assert description.training is not None
    assert description.training.test_accuracy >= 0.98
    assert description.training.network == "cnn"


def test_four_samples_have_the_shapes_of_the_network(client: strata_client.Client, pictures: list[Path]) -> None:
    wanted = ["conv1", "pool1", "conv2", "pool2", "flatten"]
    shapes = {name: value.shape for name, value in client.activations(pictures, layers=wanted).items()}
    assert shapes == {
        "conv1": (4, 28, 28, 25),
        "pool1": (4, 14, 14, 25),
        "conv2": (4, 14, 14, 50),
        "pool2": (4, 7, 7, 50),
        "flatten": (4, 2450),
    }


@pytest.mark.parametrize("name", [name for name in NETWORK if name != "image"])
def test_each_layer_alone_equals_keras(
    client: strata_client.Client, batch: Floats, by_keras: dict[str, Floats], name: str
) -> None:
    served = client.activations(batch, layers=[name])[name]
    np.testing.assert_allclose(served, by_keras[name], rtol=0, atol=1e-5)  # the bound for this network


def test_all_layers_in_one_request_equal_keras(
    client: strata_client.Client, pictures: list[Path], by_keras: dict[str, Floats]
) -> None:
    served = client.activations(pictures, layers=list(NETWORK))
    assert list(served) == list(NETWORK)
    for name, value in by_keras.items():
        np.testing.assert_allclose(served[name], value, rtol=0, atol=1e-5, err_msg=name)


def test_what_the_network_saw_is_what_it_was_trained_on(
    client: strata_client.Client, pictures: list[Path], batch: Floats
) -> None:
    assert_close(client.activations(pictures, layers=["image"])["image"], batch)


def test_pictures_and_arrays_get_the_same_labels(
    client: strata_client.Client, pictures: list[Path], batch: Floats
) -> None:
    from_pictures = client.predict(pictures)
    assert [row.label for row in from_pictures] == [row.label for row in client.predict(batch)]
    assert [row.label for row in from_pictures] == ["0", "3", "5", "7"]


def test_a_row_gets_the_same_answer_alone_and_among_others(client: strata_client.Client, batch: Floats) -> None:
    together = client.predict(batch).outputs["predictions"]
    for row, expected in zip(batch, together, strict=True):
        assert_close(client.predict(row[np.newaxis]).outputs["predictions"][0], expected)
