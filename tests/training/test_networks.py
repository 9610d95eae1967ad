"""The network of the issue, exactly."""

import keras
import numpy as np
import pytest
from strata.v1 import catalog_pb2, tensor_pb2
from strata_training import errors, networks
from strata_training.layers import describe
from strata_training.trace import trace


@pytest.fixture(scope="module")
def cnn() -> keras.Model:
    return networks.find("cnn").build((28, 28, 1), 10, networks.make_options(networks.find("cnn"), {}), [])


@pytest.fixture(scope="module")
def catalog(cnn: keras.Model) -> dict[str, catalog_pb2.Layer]:
    return {layer.name: layer for layer in describe(trace(cnn))}


def test_the_cnn_has_the_layers_of_the_issue_in_their_order(cnn: keras.Model) -> None:
    assert [entry.name for entry in cnn.inputs] == ["image"]
    assert [(layer.name, type(layer).__name__) for layer in cnn.layers] == [
        ("conv1", "Conv2D"),
        ("pool1", "MaxPooling2D"),
        ("conv2", "Conv2D"),
        ("pool2", "MaxPooling2D"),
        ("flatten", "Flatten"),
        ("dense1", "Dense"),
        ("dropout", "Dropout"),
        ("predictions", "Dense"),
    ]


def test_the_cnn_has_the_settings_of_the_issue(cnn: keras.Model) -> None:
    for name in ("conv1", "conv2"):
        settings = cnn.get_layer(name).get_config()
        assert (settings["kernel_size"], settings["padding"], settings["activation"]) == ((3, 3), "same", "relu")
    assert cnn.get_layer("dropout").rate == 0.5
    assert cnn.get_layer("dense1").get_config()["activation"] == "relu"
    assert cnn.get_layer("predictions").get_config()["activation"] == "softmax"


def test_four_samples_have_the_activations_of_the_issue(cnn: keras.Model) -> None:
    layers = keras.Model(cnn.inputs, {layer.name: layer.output for layer in cnn.layers})
    shapes = {name: value.shape for name, value in layers([np.zeros((4, 28, 28, 1), np.float32)]).items()}
    assert shapes["conv1"] == (4, 28, 28, 25)
    assert shapes["pool1"] == (4, 14, 14, 25)
    assert shapes["conv2"] == (4, 14, 14, 50)
    assert shapes["pool2"] == (4, 7, 7, 50)
    assert shapes["flatten"] == (4, 2450)
    assert shapes["predictions"] == (4, 10)


def test_the_catalog_counts_what_the_formulas_give(catalog: dict[str, catalog_pb2.Layer]) -> None:
    counted = {name: (layer.parameters, layer.multiply_adds) for name, layer in catalog.items()}
    assert counted == {
        "image": (0, 0),
        "conv1": ((3 * 3 * 1 + 1) * 25, 28 * 28 * 25 * 3 * 3 * 1),
        "pool1": (0, 0),
        "conv2": ((3 * 3 * 25 + 1) * 50, 14 * 14 * 50 * 3 * 3 * 25),
        "pool2": (0, 0),
        "flatten": (0, 0),
        "dense1": ((2450 + 1) * 128, 2450 * 128),
        "dropout": (0, 0),
        "predictions": ((128 + 1) * 10, 128 * 10),
    }


def test_the_catalog_has_the_input_first_then_a_layer_for_each_depth(
    catalog: dict[str, catalog_pb2.Layer],
) -> None:
    assert [layer.depth for layer in catalog.values()] == list(range(9))
    image = catalog["image"]
    assert (image.kind, list(image.shape)) == ("InputLayer", [-1, 28, 28, 1])
    assert {layer.data_type for layer in catalog.values()} == {tensor_pb2.DATA_TYPE_FLOAT32}
    assert [layer.name for layer in catalog.values() if layer.default_exit] == ["predictions"]


def test_the_cnn_is_built_for_other_pictures_and_classes_too() -> None:
    assert networks.find("cnn").build(
        (32, 32, 3), 7, networks.make_options(networks.find("cnn"), {}), []
    ).output_shape == (None, 7)


def test_an_unknown_network_is_told_with_the_nearest_names() -> None:
    with pytest.raises(errors.NotFound, match=r"unknown network 'cmn'; nearest: 'cnn'"):
        networks.find("cmn")


def test_a_network_that_nobody_measured_gets_the_general_tolerance() -> None:
    assert networks.find_tolerance("cnn").allow(1000) == 1e-5
    assert networks.find_tolerance("").allow(10) == pytest.approx(1e-6 + 1e-4 * 10)
