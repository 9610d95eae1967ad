"""Random changes of the pictures that are learned from, which no export holds."""

import re
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import onnx
import pytest
from strata_training import augmentation, networks
from strata_training.augmentation import is_augmentation, make_layers
from strata_training.conversion import check, convert
from strata_training.errors import NotFound, Unsupported
from strata_training.layers import describe
from strata_training.sources import open_source
from strata_training.trace import trace
from training.graphs import run

ALL = ["flip", "rotate:0.05", "zoom:0.1", "shift:0.1", "contrast:0.2"]
layers = keras.layers


@pytest.fixture
def rows() -> npt.NDArray[np.float32]:
    """As preprocessed pictures may be: of both signs, and beyond 1."""
    keras.utils.set_random_seed(0)
    return np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype(np.float32)


def build_cnn(specs: list[str]) -> keras.Model:
    network = networks.find("cnn")
    options = networks.make_options(network, {"filters": (3, 4), "units": (5,)})
    keras.utils.set_random_seed(3)
    return network.build((8, 8, 3), 2, options, make_layers(specs))


def export(model: keras.Model) -> onnx.ModelProto:
    network = trace(model)
    exported = convert(network)
    check(exported)
    return exported


def reopen(model: keras.Model, folder: Path) -> keras.Model:
    model.save(folder / "model.keras")
    return open_source(str(folder / "model.keras")).model


@pytest.mark.parametrize("spec", ALL)
def test_a_layer_changes_pictures_while_they_are_learned_from_and_at_no_other_time(
    spec: str, rows: npt.NDArray[np.float32]
) -> None:
    (layer,) = make_layers([spec])
    assert not np.allclose(layer(rows, training=True), rows, atol=1e-3)
    np.testing.assert_array_equal(layer(rows, training=False), rows)


@pytest.mark.parametrize("spec", ALL)
def test_the_same_seed_gives_the_same_changes(spec: str, rows: npt.NDArray[np.float32]) -> None:
    changed = []
    for _ in range(2):
        keras.utils.set_random_seed(5)
        changed.append(make_layers([spec])[0](rows, training=True).numpy())
    np.testing.assert_array_equal(changed[0], changed[1])


def test_a_flip_exchanges_left_and_right_and_not_top_and_bottom(rows: npt.NDArray[np.float32]) -> None:
    (layer,) = make_layers(["flip"])
    changed = layer(rows.repeat(8, axis=0), training=True).numpy()
    flipped = [np.array_equal(new, old[:, ::-1]) for new, old in zip(changed, rows.repeat(8, axis=0), strict=True)]
    kept = [np.array_equal(new, old) for new, old in zip(changed, rows.repeat(8, axis=0), strict=True)]
    assert any(flipped)
    assert any(kept)
    assert all(a != b for a, b in zip(flipped, kept, strict=True))


def test_contrast_keeps_the_mean_of_each_channel_whatever_the_range_of_the_pixels_is(
    rows: npt.NDArray[np.float32],
) -> None:
    (layer,) = make_layers(["contrast:0.5"])
    pixels = 100 * rows - 50
    changed = layer(pixels, training=True).numpy()
    np.testing.assert_allclose(changed.mean(axis=(1, 2)), pixels.mean(axis=(1, 2)), rtol=1e-4, atol=1e-3)
    assert changed.min() < -200


def test_what_moves_in_at_a_border_is_of_the_border_and_no_black() -> None:
    pictures = np.full((16, 8, 8, 1), -7, np.float32)
    for layer in make_layers(["rotate:0.2", "zoom:0.5", "shift:0.5"]):
        np.testing.assert_allclose(layer(pictures, training=True), pictures, rtol=1e-5, err_msg=layer.name)


def test_the_same_kind_may_be_there_twice() -> None:
    names = [layer.name for layer in make_layers(["flip", "shift:0.1", "shift:0.2", "flip"])]
    assert names == ["augment1_flip", "augment2_shift", "augment3_shift", "augment4_flip"]
    assert make_layers([]) == []


@pytest.mark.parametrize("spec", ["flipp", "flipp:0.1"])
def test_an_unknown_kind_is_told_with_the_nearest(spec: str) -> None:
    with pytest.raises(NotFound, match="unknown augmentation 'flipp'; nearest: 'flip'"):
        make_layers(["flip", spec])


@pytest.mark.parametrize("share", ["", ":", ":x", ":0", ":-0.1", ":1", ":nan", ":inf", ":0.1:0.2"])
def test_a_bad_share_is_told_with_what_was_expected(share: str) -> None:
    expected = re.escape(f"augmentation 'zoom{share}': expected a number between 0 and 1 behind a colon, received")
    with pytest.raises(Unsupported, match=expected):
        make_layers([f"zoom{share}"])


def test_a_flip_takes_no_number() -> None:
    with pytest.raises(Unsupported, match=r"'flip:0\.5': expected 'flip' alone"):
        make_layers(["flip:0.5"])


@pytest.mark.parametrize("kind", augmentation._LAYERS, ids=lambda kind: kind.__name__)
def test_each_layer_that_counts_as_augmentation_gives_in_inference_what_it_takes(
    kind: Callable[..., keras.layers.Layer],
) -> None:
    needed: dict[str, dict[str, float]] = {
        "RandomBrightness": {"factor": 0.5},
        "RandomColorDegeneration": {"factor": 0.5},
        "RandomColorJitter": {"brightness_factor": 0.5},
        "RandomContrast": {"factor": 0.5},
        "RandomHue": {"factor": 0.5},
        "RandomPosterization": {"factor": 4},
        "RandomRotation": {"factor": 0.2},
        "RandomSaturation": {"factor": 0.5},
        "RandomSharpness": {"factor": 0.5},
        "RandomShear": {"x_factor": 0.5},
        "RandomTranslation": {"height_factor": 0.5, "width_factor": 0.5},
        "RandomZoom": {"height_factor": 0.5},
    }
    layer = kind(**needed.get(kind.__name__, {}))
    pictures = np.random.default_rng(1).integers(0, 256, (2, 8, 8, 3)).astype(np.float32)
    taken = {"images": pictures.copy(), "labels": np.eye(2, dtype=np.float32)} if "Mix" in kind.__name__ else pictures
    given = layer(taken if kind is not layers.AugMix else pictures, training=False)
    np.testing.assert_array_equal(given["images"] if isinstance(given, dict) else given, pictures)


def test_what_does_something_in_inference_is_no_augmentation() -> None:
    own = type("Own", (layers.RandomFlip,), {})

    others = [layers.RandomCrop(4, 4), layers.CenterCrop(4, 4), layers.Rescaling(2.0), layers.Dropout(0.5), own()]
    assert not any(map(is_augmentation, others))
    assert not is_augmentation(layers.Pipeline([layers.RandomFlip(), layers.Rescaling(2.0)]))
    assert not is_augmentation(keras.Sequential([keras.Input((4, 4, 1)), layers.RandomFlip(), layers.Rescaling(2.0)]))
    assert is_augmentation(layers.Pipeline([layers.RandomFlip()]))


def test_an_export_has_the_layers_of_the_network_without_augmentation_and_the_same_values(
    rows: npt.NDArray[np.float32],
) -> None:
    plain, augmented = build_cnn([]), build_cnn(ALL)
    assert len(augmented.layers) == len(plain.layers) + len(ALL)
    augmented.set_weights(plain.get_weights())
    assert describe(trace(augmented)) == describe(trace(plain))
    expected, received = (run(export(model), {"image": rows}) for model in (plain, augmented))
    assert received.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(received[name], value, err_msg=name)


def build_stranger() -> keras.Model:
    """Return what tutorials build: augmentation as a model of its own, and more of it further in."""
    changes = keras.Sequential([layers.RandomFlip(), layers.RandomRotation(0.1)], name="changes")
    base = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.RandomContrast(0.1, name="random"), layers.Conv2D(4, 3, name="conv")],
        name="base",
    )
    image = keras.Input((8, 8, 3), name="image")
    scaled = layers.Rescaling(0.5, name="scale")(changes(image))
    piped = layers.Pipeline([layers.RandomFlip()], name="pipe")(scaled)
    both = layers.Add(name="sum")([layers.RandomZoom(0.1, name="zoom")(image), piped])
    return keras.Model(image, layers.RandomFlip(name="end")(base(both)))


def test_augmentation_in_a_strangers_file_is_passed_by_wherever_it_stands(
    rows: npt.NDArray[np.float32], tmp_path: Path
) -> None:
    model = reopen(build_stranger(), tmp_path)
    network = trace(model)
    assert {step.name: step.sources for step in network.steps} == {
        "scale": ("image",),
        "sum": ("image", "scale"),
        "base/conv": ("sum",),
        "base": ("base/conv",),
    }
    assert network.exits == ("base",)
    exported = export(model)
    assert not any(word in exported.SerializeToString() for word in (b"random", b"changes", b"zoom", b"pipe"))
    received = run(exported, {"image": rows})
    np.testing.assert_allclose(received["base"], model(rows, training=False), rtol=1e-5, atol=1e-6)


def test_a_change_that_is_called_as_in_training_is_passed_by_as_well(rows: npt.NDArray[np.float32]) -> None:
    image = keras.Input((8, 8, 3), name="image")
    changed = layers.RandomFlip()(image, training=True)
    model = keras.Model(image, layers.Rescaling(2.0, name="scale")(changed))
    np.testing.assert_array_equal(run(export(model), {"image": rows})["scale"], 2 * rows)


def test_what_augmentation_makes_of_whole_numbers_stays(rows: npt.NDArray[np.float32]) -> None:
    """It gives float32, which the layer behind it needs; so its name is a layer, which casts."""
    image = keras.Input((8, 8, 3), dtype="uint8", name="image")
    model = keras.Model(image, layers.Conv2D(2, 3, name="conv")(layers.RandomFlip(name="flip")(image)))
    pixels = (rows * 50 + 100).clip(0, 255).astype(np.uint8)
    received = run(export(model), {"image": pixels})
    assert [(step.name, step.kind) for step in trace(model).steps] == [("flip", "RandomFlip"), ("conv", "Conv2D")]
    np.testing.assert_array_equal(received["flip"], pixels.astype(np.float32))
    np.testing.assert_allclose(received["conv"], model(pixels, training=False), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("nested", [False, True])
def test_a_model_of_augmentation_alone_is_refused(nested: bool) -> None:
    inner = [layers.RandomFlip(), layers.RandomZoom(0.1)]
    body = [keras.Sequential([keras.Input((8, 8, 1)), *inner])] if nested else inner
    with pytest.raises(Unsupported, match="at least one layer, received one whose outputs are its inputs"):
        trace(keras.Sequential([keras.Input((8, 8, 1), name="image"), *body]))


def test_training_with_augmentation_is_repeatable(rows: npt.NDArray[np.float32]) -> None:
    """As `fit` does it: the same seed gives the same weights, also for layers that draw at random."""
    labels = np.eye(2, dtype=np.float32)[[0, 1, 0, 1]]
    weights = []
    for _ in range(2):
        model = build_cnn(ALL)
        model.compile("adam", "categorical_crossentropy")
        model.fit(rows, labels, epochs=2, verbose=0, shuffle=False)
        weights.append(model.get_weights())
    for first, second in zip(*weights, strict=True):
        np.testing.assert_array_equal(first, second)
