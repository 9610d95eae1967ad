"""Every network becomes an artifact that computes the same, layer by layer."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from strata_training import networks, parity
from strata_training.conversion import check, convert
from strata_training.layers import describe
from strata_training.sources import open_source
from strata_training.trace import trace

CASES: list[tuple[str, tuple[int, ...], dict[str, Any]]] = [
    ("cnn", (28, 28, 1), {}),
    ("cnn", (20, 24, 3), {"filters": (3, 5, 7), "kernel": 2, "padding": "valid", "activation": "gelu", "units": ()}),
    ("cnn", (32, 32, 3), {"stride": 2, "units": (9, 8), "activation": "leaky_relu", "dropout": 0}),
    ("cnn8x8", (8, 8, 1), {}),
    ("mlp", (8, 8, 1), {}),
    ("mlp", (2,), {"activation": "tanh", "dropout": 0.1}),
    ("mlp", (5,), {"units": ()}),
    ("polynomial", (8, 8, 1), {}),
    ("polynomial", (2,), {"degree": 4, "output": "sigmoid"}),
    ("polynomial", (3,), {"degree": 1}),
    ("mobilenetv2", (32, 32, 3), {"output": "sigmoid"}),
    ("mobilenetv3small", (32, 32, 3), {}),
]
# One of each family of blocks, which take a minute together.
FULL_SIZE: list[tuple[str, tuple[int, ...], dict[str, Any]]] = [
    ("vgg16", (32, 32, 3), {}),
    ("resnet50v2", (32, 32, 3), {}),
    ("densenet121", (32, 32, 3), {}),
    ("inceptionv3", (75, 75, 3), {}),
    ("xception", (71, 71, 3), {}),
    ("nasnetmobile", (32, 32, 3), {}),
    ("efficientnetb0", (32, 32, 3), {}),
    ("efficientnetv2b0", (32, 32, 3), {}),
    ("convnexttiny", (32, 32, 3), {}),
]


def settle(model: keras.Model) -> None:
    """Move each normalization to the statistics of some rows, as training does; else values fade with the depth.

    So many rows, because the last maps are 1 x 1: of 8 such values the variance is next to 0 for some channel of
    hundreds, and whoever divides by it blows the rounding of the layer before up, thirtyfold in EfficientNetV2.
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.1
    model(np.random.default_rng(1).random((64, *model.input_shape[1:])).astype(np.float32), training=True)


@pytest.mark.parametrize(
    ("name", "shape", "given"),
    [*CASES, *(pytest.param(*case, marks=pytest.mark.full_size) for case in FULL_SIZE)],
)
def test_a_network_is_exported_from_its_file_and_meets_its_tolerance(
    name: str, shape: tuple[int, ...], given: dict[str, Any], tmp_path: Path
) -> None:
    keras.utils.set_random_seed(2)
    network = networks.find(name)
    model = network.build(shape, 4, networks.make_options(network, given), [])
    settle(model)
    model.save(tmp_path / "model.keras")
    traced = trace(open_source(str(tmp_path / "model.keras")).model)
    exported = convert(traced)
    check(exported)
    rows = parity.measure(traced, exported, networks.find_tolerance(name))
    parity.require(rows)
    assert [row.layer for row in rows][-1] == "predictions"
    assert min(row.largest_magnitude for row in rows) > 0
    layers = {layer.name: layer for layer in describe(traced)}
    assert layers.keys() == {"image" if len(shape) > 1 else "features", *(row.layer for row in rows)}
    assert sum(layer.parameters for layer in layers.values()) == model.count_params()


def test_a_grouped_convolution_and_an_exact_gelu_are_exported() -> None:
    """As ConvNeXt has them: Keras compiles the first, and tf2onnx knows no erfc, of which the second is made."""
    layers = keras.layers
    image = keras.Input((6, 6, 4), name="image")
    grouped = layers.Conv2D(8, 3, groups=4, padding="same", name="grouped")(image)
    # Far on both sides of 0, where erfc is next to 0 or 2.
    stretched = layers.Rescaling(30.0, name="stretched")(grouped)
    traced = trace(keras.Model(image, layers.Activation("gelu", name="gelu")(stretched)))
    exported = convert(traced)
    check(exported)
    rows = parity.measure(traced, exported, networks.Tolerance(absolute=1e-6, relative=1e-6))
    parity.require(rows)
    assert rows[-1].largest_magnitude > 10


def test_the_command_knows_the_layer_of_a_file_that_holds_polynomial_features(tmp_path: Path) -> None:
    """In a process of its own, in which nothing else has made the layer known to Keras."""
    network = networks.find("polynomial")
    network.build((2,), 2, networks.make_options(network, {}), []).save(tmp_path / "circles.keras")
    strata_train = Path(sys.executable).with_name("strata-train")
    command = [str(strata_train), "export", "--from", "circles.keras", "--model", "circles", "--models", "models"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "models/circles/1/model.onnx").is_file()


def test_polynomial_features_learn_nothing_by_themselves() -> None:
    network = networks.find("polynomial")
    model = network.build((3,), 2, networks.make_options(network, {}), [])
    counted = {layer.name: (layer.kind, layer.parameters) for layer in describe(trace(model))}
    assert counted == {
        "features": ("InputLayer", 0),
        "polynomial": ("PolynomialFeatures", 0),
        "predictions": ("Dense", (9 + 1) * 2),
    }
