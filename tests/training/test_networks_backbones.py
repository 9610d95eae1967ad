"""The networks of keras.applications under a new head, at small sizes and with weights of the test's own."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from strata_training import networks
from strata_training.augmentation import make_layers
from strata_training.errors import NotFound, Unreadable, Unsupported
from strata_training.networks.backbone import backbones
from strata_training.preprocessing import Preprocessing

SHAPE = (32, 32, 3)


def build(name: str, shape: tuple[int, ...] = SHAPE, augment: tuple[str, ...] = (), **options: Any) -> keras.Model:
    network = networks.find(name)
    return network.build(shape, 4, networks.make_options(network, options), make_layers(augment))


def names(model: keras.Model) -> list[str]:
    return [layer.name for layer in model.layers]


@pytest.fixture(scope="module")
def base() -> keras.Model:
    """Return the backbone as Keras itself builds it, its weights drawn at random."""
    keras.utils.set_random_seed(1)
    model = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=SHAPE)
    random = np.random.default_rng(1)
    model.set_weights([random.random(weight.shape).astype(np.float32) for weight in model.get_weights()])
    return model


def check_weights(model: keras.Model, base: keras.Model) -> None:
    """Check that a network has the weights of a backbone, whatever its layers are called in this process."""
    own = [layer for layer in model.layers if layer.weights and layer.name != "predictions"]
    theirs = [layer for layer in base.layers if layer.weights]
    for layer, expected in zip(own, theirs, strict=True):
        for weight, value in zip(layer.get_weights(), expected.get_weights(), strict=True):
            np.testing.assert_array_equal(weight, value, err_msg=layer.name)


def test_every_application_of_keras_is_there() -> None:
    built = {name.lower() for name, item in vars(keras.applications).items() if isinstance(item, type(lambda: 0))}
    assert set(backbones()) == built
    assert {"resnet50", "mobilenetv2", "vgg16", "densenet121", "efficientnetb0", "xception"} <= built


@pytest.mark.parametrize("name", backbones())
def test_every_backbone_says_what_pictures_it_wants(name: str) -> None:
    network = networks.find(name)
    sides = {
        "efficientnetb1": 240,
        "efficientnetb7": 600,
        "efficientnetv2l": 480,
        "inceptionresnetv2": 299,
        "inceptionv3": 299,
        "mobilenetv3small": 224,
        "nasnetlarge": 331,
        "resnet50": 224,
        "xception": 299,
    }
    assert network.image_size is not None
    height, width = network.image_size
    assert height == width == sides.get(name, width)
    assert 224 <= width <= 600
    assert network.takes == "pictures"
    assert "\n" not in network.text


@pytest.mark.parametrize("name", backbones())
def test_its_pixels_are_preprocessed_as_keras_does_it(name: str) -> None:
    network = networks.find(name)
    assert network.color in {"COLOR_RGB", "COLOR_BGR"}
    rule = Preprocessing(
        "image", network.color, scale=network.scale, means=network.means, deviations=network.deviations
    )
    pictures = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3)).astype(np.uint8)
    expected = sys.modules[backbones()[name].__module__].preprocess_input(pictures.astype(np.float32))
    # `apply` takes pictures that are of the network's color already.
    received = rule.apply(pictures[..., ::-1] if network.color == "COLOR_BGR" else pictures)
    np.testing.assert_allclose(received, expected, rtol=0, atol=1e-5)


def test_each_way_to_preprocess_is_that_of_a_backbone() -> None:
    ways = {
        name: (network.color, network.scale, network.means, network.deviations)
        for name in ("resnet50", "mobilenetv2", "densenet121", "efficientnetb0")
        for network in [networks.find(name)]
    }
    assert ways == {
        "resnet50": ("COLOR_BGR", 1.0, (103.939, 116.779, 123.68), ()),
        "mobilenetv2": ("COLOR_RGB", 1 / 127.5, (1.0, 1.0, 1.0), ()),
        "densenet121": ("COLOR_RGB", 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        "efficientnetb0": ("COLOR_RGB", 1.0, (), ()),
    }


def test_every_layer_keeps_its_keras_name_in_one_flat_model(base: keras.Model) -> None:
    model = build("mobilenetv2")
    assert names(model) == ["image", *names(base)[1:], "avg_pool", "dropout", "predictions"]
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)
    assert model.output_shape == (None, 4)
    assert model.name == "mobilenetv2"


def test_unnamed_layers_are_counted_from_the_start_each_time() -> None:
    first, second = (names(build("inceptionv3", (75, 75, 3))) for _ in range(2))
    assert first == second
    assert "conv2d" in first


def test_augmentation_stands_right_behind_the_input(base: keras.Model) -> None:
    model = build("mobilenetv2", augment=("flip", "zoom:0.1"))
    assert names(model) == [
        "image",
        "augment1_flip",
        "augment2_zoom",
        *names(base)[1:],
        "avg_pool",
        "dropout",
        "predictions",
    ]


def test_the_head_is_as_the_options_say() -> None:
    model = build("mobilenetv2", dropout=0.75, output="sigmoid")
    assert model.get_layer("dropout").rate == 0.75
    assert model.get_layer("predictions").activation is keras.activations.sigmoid
    assert build("mobilenetv2").get_layer("predictions").activation is keras.activations.softmax


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5"])
@pytest.mark.parametrize("augment", [(), ("flip", "rotate:0.1")])
def test_a_local_file_of_weights_is_loaded(
    base: keras.Model, suffix: str, augment: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / f"own{suffix}"
    if suffix == ".h5":
        # The older format, in which Keras publishes its own.
        keras.src.legacy.saving.legacy_h5_format.save_model_to_hdf5(base, str(path))
    else:
        base.save_weights(path)
    check_weights(build("mobilenetv2", augment=augment, weights=str(path)), base)


def test_weights_are_for_pictures_of_any_size(base: keras.Model, tmp_path: Path) -> None:
    base.save_weights(tmp_path / "own.weights.h5")
    model = build("mobilenetv2", (64, 48, 3), weights=str(tmp_path / "own.weights.h5"))
    assert model.input_shape == (None, 64, 48, 3)
    check_weights(model, base)


def test_without_weights_they_are_drawn() -> None:
    first, second = (build("mobilenetv2").get_layer("Conv1").get_weights()[0] for _ in range(2))
    assert np.ptp(first) > 0
    assert not np.array_equal(first, second)


def test_a_missing_file_of_weights_is_told() -> None:
    with pytest.raises(NotFound, match=r"no file of weights at gone\.h5: expected none, imagenet or a file's path"):
        build("mobilenetv2", weights="gone.h5")


def test_the_weights_of_another_network_are_refused_in_one_line(base: keras.Model, tmp_path: Path) -> None:
    path = tmp_path / "other.weights.h5"
    base.save_weights(path)
    with pytest.raises(Unreadable, match=r"other\.weights\.h5 does not hold the weights of VGG16") as refused:
        build("vgg16", weights=str(path))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["noise.weights.h5", "noise.h5", "noise.keras", "noise.txt", "noise"])
def test_a_file_that_holds_no_weights_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"noise" * 100)
    with pytest.raises(Unreadable, match=f"{name} does not hold the weights of MobileNetV2") as refused:
        build("mobilenetv2", weights=str(tmp_path / name))
    assert "\n" not in str(refused.value)


def test_a_download_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Port 1 is closed, so nothing is reached; and Keras must not find what an earlier download left.
    for key in ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(key, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setattr(keras.src.utils.file_utils.config, "_KERAS_DIR", str(tmp_path))
    with pytest.raises(Unreadable, match="the ImageNet weights of MobileNetV2 cannot be had: ") as refused:
        build("mobilenetv2", weights="imagenet")
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.rglob("*.h5"))


REFUSED: Mapping[str, tuple[str, tuple[int, ...], str]] = {
    "pictures that are too small": ("xception", (32, 32, 3), "Xception cannot be built for .*at least 71x71"),
    "gray pictures": ("mobilenetv2", (32, 32, 1), "'mobilenetv2' takes pictures of three channels"),
    "points": ("mobilenetv2", (3,), "'mobilenetv2' takes pictures of three channels"),
}


@pytest.mark.parametrize(("name", "shape", "expected"), REFUSED.values(), ids=REFUSED)
def test_what_it_cannot_take_is_refused_in_one_line(name: str, shape: tuple[int, ...], expected: str) -> None:
    with pytest.raises(Unsupported, match=expected) as refused:
        build(name, shape)
    assert "\n" not in str(refused.value)


def test_an_unknown_backbone_is_told_with_the_nearest_names() -> None:
    with pytest.raises(NotFound, match=r"unknown network 'resnet51'; nearest: 'resnet50'"):
        networks.find("resnet51")


def test_a_backbone_has_its_own_tolerance() -> None:
    assert networks.find_tolerance("resnet50") == networks.find("resnet50").tolerance
