"""A trained network learns something else: what is frozen stays as it is, and what it knows helps."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from strata_training import fit
from strata_training.errors import Mismatch, NotFound, Unsupported
from strata_training.freezing import Layers
from strata_training.head import replace_head
from strata_training.records import Plan, Tuning
from strata_training.runs import Run

LOW, HIGH = tuple("01234"), tuple("56789")
CNN = ["conv1", "pool1", "conv2", "pool2", "flatten", "dense1", "dropout", "predictions"]


def silent(_: str) -> None:
    """Take an epoch's line and show nothing."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Train a base on the digits 0 to 4, and return it by its path."""
    folder = tmp_path_factory.mktemp("base")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run = fit.fit(Plan("digits", "cnn", classes=LOW, epochs=2, shift_pixels=0), "base", report=silent)
        return Run(folder / run.folder, run.record)


@pytest.fixture
def plan(base: Run, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Work beside the base, and return a short plan that tunes it."""
    monkeypatch.chdir(base.folder.parent.parent)
    return Plan(
        "digits", classes=HIGH, samples_per_class=10, epochs=1, batch_size=16, shift_pixels=0, tuning=Tuning("base")
    )


def tune(plan: Plan, name: str, **changes: Any) -> Run:
    assert plan.tuning
    return fit.fit(dataclasses.replace(plan, tuning=dataclasses.replace(plan.tuning, **changes)), name, report=silent)


def changed_layers(before: Path, after: Path) -> list[str]:
    """Return the layers whose weights are not the same bit for bit."""
    first, second = (keras.saving.load_model(path) for path in (before, after))
    return [
        layer.name
        for layer in second.layers
        if layer.weights and not same(first.get_layer(layer.name).get_weights(), layer.get_weights())
    ]


def same(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> bool:
    return len(first) == len(second) and all(map(np.array_equal, first, second))


@pytest.mark.parametrize(
    ("changes", "learned"),
    [
        ({}, ["predictions"]),
        ({"freeze_until": "conv1"}, ["conv2", "dense1", "predictions"]),
        ({"freeze_until": "pool2"}, ["dense1", "predictions"]),
        ({"freeze": ("conv*",)}, ["dense1", "predictions"]),
        ({"freeze_until": "conv1", "freeze": ("dense1",)}, ["conv2", "predictions"]),
        ({"freeze": ("none",)}, ["conv1", "conv2", "dense1", "predictions"]),
        ({"unfreeze_last": 1}, ["dense1", "predictions"]),
        ({"unfreeze_last": 9, "freeze_until": "conv1"}, ["conv2", "dense1", "predictions"]),
    ],
    ids=[
        "the head alone",
        "until conv1",
        "until pool2",
        "a pattern",
        "both",
        "nothing",
        "one unfrozen",
        "all but conv1 unfrozen",
    ],
)
def test_what_is_frozen_stays_bit_for_bit_and_the_rest_learns(
    base: Run, plan: Plan, changes: dict[str, object], learned: list[str], request: pytest.FixtureRequest
) -> None:
    run = tune(plan, request.node.callspec.id.replace(" ", "-"), **changes)
    assert changed_layers(base.model, run.model) == learned
    assert run.record.classes == HIGH
    assert run.record.network == "cnn"
    assert run.record.preprocessing == base.record.preprocessing


def test_a_second_stage_learns_at_a_tenth_of_the_rate_after_the_first(plan: Plan) -> None:
    run = tune(plan, "stages", unfreeze_last=1, unfreeze_epochs=2)
    rows = [line.split(",")[:3] for line in (run.folder / "history.csv").read_text().splitlines()[1:]]
    assert [(epoch, stage) for epoch, stage, _ in rows] == [("1", "1"), ("2", "2"), ("3", "2")]
    assert [float(rate) for *_, rate in rows] == pytest.approx([1e-3, 1e-4, 1e-4])


def test_the_same_tuning_gives_the_same_weights(plan: Plan) -> None:
    first, second = (keras.saving.load_model(tune(plan, name).model).get_weights() for name in ("one", "two"))
    assert same(first, second)


def test_a_head_is_kept_for_the_same_classes_and_refused_for_others(base: Run, plan: Plan) -> None:
    kept = tune(dataclasses.replace(plan, classes=LOW), "kept", keep_head=True, freeze=("conv*", "dense1"))
    assert changed_layers(base.model, kept.model) == ["predictions"]
    for classes, received in ((HIGH, "5, 6, 7, 8, 9"), (LOW[::-1], "4, 3, 2, 1, 0"), (LOW[:4], "0, 1, 2, 3")):
        expected = f"--keep-head: the network knows the classes 0, 1, 2, 3, 4; 'digits' has {received}"
        with pytest.raises(Mismatch, match=expected):
            tune(dataclasses.replace(plan, classes=classes), "refused", keep_head=True)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"freeze_until": "pool9"}, NotFound, "unknown layer 'pool9'; nearest: 'pool"),
        ({"freeze": ("block*",)}, NotFound, r"unknown layer 'block\*'; there are 8"),
        ({"unfreeze_last": 1, "freeze_until": "dense1"}, NotFound, "none of the last 1 layers before the head"),
        ({"freeze_until": "predictions"}, NotFound, "no layer is left to learn"),
        ({"origin": "bases"}, NotFound, "unknown network 'bases'"),
    ],
)
def test_what_cannot_be_meant_is_told_and_leaves_nothing(
    plan: Plan, changes: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        tune(plan, "refused", **changes)
    assert not Path("runs/refused").exists()


def test_examples_of_another_shape_are_refused(plan: Plan) -> None:
    with pytest.raises(
        Mismatch, match=r"base takes examples of shape \(28, 28, 1\); those of 'digits' have \(8, 8, 1\)"
    ):
        tune(dataclasses.replace(plan, image_size=(8, 8)), "refused")


def test_a_file_is_tuned_and_its_pixels_are_taken_as_it_wants_them(plan: Plan) -> None:
    layers = keras.layers
    for name, first, scale in (("plain", layers.Identity(), 1 / 255), ("rescaling", layers.Rescaling(1 / 255), 1.0)):
        file = keras.Sequential(
            [keras.Input((28, 28, 1), name="picture"), first, layers.Conv2D(2, 3, name="conv"), layers.ReLU()]
        )
        file.save(f"{name}.keras")
        run = tune(plan, name, origin=f"{name}.keras")
        assert run.record.preprocessing
        assert (run.record.preprocessing.input, run.record.preprocessing.scale) == ("picture", scale)
        model = keras.saving.load_model(run.model)
        assert [layer.name for layer in model.layers[-2:]] == ["features", "predictions"]
        assert model.output_shape == (None, 5)
    assert tune(plan, "told", origin="plain.keras", pixel_scale=0.5).record.preprocessing.scale == 0.5  # type: ignore[union-attr]


def batch_normalized() -> keras.Model:
    layers = keras.layers
    entry = keras.Input((28, 28, 1), name="image")
    inner = keras.Sequential([keras.Input((26, 26, 2)), layers.BatchNormalization(name="norm")], name="inner")
    features = layers.GlobalAveragePooling2D(name="mean")(inner(layers.Conv2D(2, 3, name="conv")(entry)))
    return keras.Model(entry, layers.Dense(5, activation="softmax", name="scores")(features))


def test_batch_normalization_that_is_frozen_works_as_in_inference_also_in_a_nested_model(plan: Plan) -> None:
    keras.utils.set_random_seed(0)
    batch_normalized().save("norm.keras")
    frozen = tune(plan, "norm-frozen", origin="norm.keras", freeze=("inner/*",))
    assert changed_layers(Path("norm.keras"), frozen.model) == ["conv", "scores"]
    learned = tune(plan, "norm-learned", origin="norm.keras", freeze=("conv",))
    assert changed_layers(Path("norm.keras"), learned.model) == ["inner", "scores"]


def test_the_layers_of_nested_models_have_their_place_in_the_order() -> None:
    layers = Layers(batch_normalized())
    assert layers.up_to("inner/norm") == {"conv", "inner/norm"}
    assert layers.head == {"scores"}
    assert layers.last(1, frozenset()) == {"inner/norm"}


def test_a_new_head_replaces_the_dense_layer_whatever_activation_follows_it(base: Run) -> None:
    layers = keras.layers
    for behind in ([], [layers.Softmax()], [layers.Activation("softmax"), layers.Activation("linear")]):
        model = keras.Sequential(
            [keras.Input((3,)), layers.Dense(4, name="hidden"), layers.Dense(2, name="end"), *behind]
        )
        tuned = replace_head(model, 7, [])
        assert [layer.name for layer in tuned.layers[1:]] == ["hidden", "end"]
        assert tuned.output_shape == (None, 7)
        assert tuned.get_layer("hidden") is model.get_layer("hidden")
    known = keras.saving.load_model(base.model)
    assert [layer.name for layer in replace_head(known, 5, []).layers[1:]] == CNN


def test_augmentation_stands_behind_the_input_and_takes_the_place_of_what_was_there() -> None:
    layers = keras.layers
    model = keras.Sequential([keras.Input((8, 8, 1)), layers.RandomFlip(name="old"), layers.Flatten(), layers.Dense(2)])
    tuned = replace_head(model, 2, [layers.RandomZoom(0.1, name="new")])
    assert [layer.name for layer in tuned.layers[1:]] == ["new", model.layers[1].name, model.layers[2].name]


def test_a_model_with_two_inputs_or_no_known_graph_cannot_be_tuned() -> None:
    first, second = keras.Input((2,)), keras.Input((2,))
    two = keras.Model([first, second], keras.layers.Dense(2)(keras.layers.Add()([first, second])))
    for model in (two, keras.Sequential([keras.layers.Dense(2)])):
        with pytest.raises(Unsupported, match="with one known input and one output"):
            replace_head(model, 2, [])
