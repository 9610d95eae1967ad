"""What a fit writes, and that it can be repeated."""

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image
from strata_training import data, fit, networks, runs
from strata_training.errors import Changed, Diverged, Exists, Stopped, Unreadable
from strata_training.preprocessing import Preprocessing
from strata_training.records import Plan, read_record
from strata_training.runs import find_run, new_run
from training.workplace import Workplace


def silent(_: str) -> None:
    """Take an epoch's line and show nothing."""


def test_a_run_holds_the_model_its_record_its_history_and_the_samples(finished: Workplace) -> None:
    assert {path.name for path in finished.run.folder.iterdir()} - {"report"} == {  # another test may have made one
        "checkpoints",
        "config.toml",
        "data.sha256",
        "held_out.npz",
        "history.csv",
        "logs",
        "model.keras",
        "run.json",
        "samples",
    }


def test_a_run_leaves_nothing_beside_it(finished: Workplace) -> None:
    assert [path.name for path in finished.run.folder.parent.iterdir()] == ["digits"]


def test_the_record_holds_all_that_is_needed_to_repeat_the_run(finished: Workplace, short_plan: Plan) -> None:
    record = read_record((finished.run.folder / "run.json").read_text())
    assert record == finished.run.record
    assert record.plan == short_plan
    assert record.classes == tuple("0123456789")
    assert record.training.data_digest == data.load("digits").digest
    assert {"keras", "tensorflow", "strata-training"} <= record.library_versions.keys()


def test_the_record_counts_every_picture_once(finished: Workplace) -> None:
    reached = finished.run.record.training
    assert reached.training_rows + reached.validation_rows + reached.test_rows == 1797


def test_the_figures_are_those_of_the_model_that_was_kept(finished: Workplace) -> None:
    digits, record = data.load("digits"), finished.run.record
    held_out = data.split(digits, record.plan.seed).test
    inputs = digits.inputs[held_out].astype(np.float32) / np.float32(255)
    scores = keras.saving.load_model(finished.run.model).predict(inputs, verbose=0)
    right = scores.argmax(axis=1) == digits.labels[held_out]
    assert record.training.test_accuracy == pytest.approx(right.mean())
    chosen = scores[np.arange(len(held_out)), digits.labels[held_out]]
    # Keras sums in float32.
    assert record.training.test_loss == pytest.approx(-np.log(chosen).mean(), rel=1e-4)


def test_the_history_has_a_row_for_each_epoch(finished: Workplace) -> None:
    with (finished.run.folder / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1"]
    columns = ["epoch", "stage", "learning_rate", "accuracy", "loss", "val_accuracy", "val_loss"]
    assert list(rows[0]) == columns  # an interface


def test_each_epoch_is_reported_in_one_line(finished: Workplace) -> None:
    (line,) = finished.epoch_lines
    assert line.startswith("epoch 1/1  ")
    assert "val_loss " in line


def test_a_sample_is_the_first_held_out_picture_of_its_class(finished: Workplace) -> None:
    digits = data.load("digits")
    held_out = data.split(digits, finished.run.record.plan.seed).test
    for digit in range(10):
        first = held_out[digits.labels[held_out] == digit][0]
        with Image.open(finished.run.folder / "samples" / f"{digit}.png") as sample:
            assert (sample.format, sample.mode) == ("PNG", "L")
            np.testing.assert_array_equal(np.asarray(sample), digits.inputs[first, :, :, 0])


def test_a_network_that_gets_worse_is_stopped_and_its_best_epoch_is_kept(empty_folder: Path, short_plan: Plan) -> None:
    # Steps this large ruin the weights at once, so the validation loss cannot go on falling.
    plan = dataclasses.replace(short_plan, epochs=20, patience=1, learning_rate=0.5, batch_size=256)
    run = fit.fit(plan, "worse", report=silent)
    reached = run.record.training
    assert reached.best_epoch == reached.epochs - 1 < 20
    with (empty_folder / run.folder / "history.csv").open() as file:
        losses = [float(row["val_loss"]) for row in csv.DictReader(file)]
    assert min(losses) == losses[reached.best_epoch - 1]


def test_a_training_whose_loss_is_never_a_number_fails_and_leaves_nothing(
    empty_folder: Path, short_plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build_broken(shape: tuple[int, ...], classes: int, _: object, __: object) -> keras.Model:
        layers = keras.layers
        broken = layers.Rescaling(float("nan"))
        return keras.Sequential([keras.Input(shape), broken, layers.Flatten(), layers.Dense(classes, "softmax")])

    broken = dataclasses.replace(networks.find("cnn"), build=build_broken)
    monkeypatch.setattr(networks, "find", lambda _: broken)
    with pytest.raises(Diverged, match=r"never a number in 1 epochs: .* received 0\.001"):
        fit.fit(short_plan, "digits", report=silent)
    assert list(empty_folder.iterdir()) == []


def test_the_same_seed_gives_the_same_weights(workplace: Workplace, short_plan: Plan) -> None:
    again = fit.fit(short_plan, "again", report=silent)
    first, second = (keras.saving.load_model(run.model).get_weights() for run in (workplace.run, again))
    for expected, received in zip(first, second, strict=True):
        np.testing.assert_array_equal(received, expected)
    assert again.record == workplace.run.record


@pytest.mark.usefixtures("empty_folder")
def test_another_seed_gives_other_weights(workplace: Workplace, short_plan: Plan) -> None:
    other = fit.fit(dataclasses.replace(short_plan, seed=1), "other", report=silent)
    first, second = (keras.saving.load_model(run.model).get_weights() for run in (workplace.run, other))
    assert not np.array_equal(first[0], second[0])


def test_a_run_that_exists_is_refused_before_anything_is_trained(
    workplace: Workplace, short_plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "train", None)
    before = workplace.run.model.read_bytes()
    with pytest.raises(Exists, match=r"the run 'digits' exists in runs/digits; choose another name"):
        fit.fit(short_plan, "digits", report=silent)
    assert workplace.run.model.read_bytes() == before


def break_record(record: dict[str, Any], *path: str, value: Any = None) -> str:
    """Return the record with one field changed, or without it."""
    *parents, name = path
    target = record
    for parent in parents:
        target = target[parent]
    target.pop(name) if value is None else target.update({name: value})
    return json.dumps(record)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["plan"], None, "run has no plan"),
        (["plan", "seed"], None, r"run\.plan has no seed"),
        (["plan", "shift_pixels"], "2", r"run\.plan\.shift_pixels: expected int, received '2'"),
        (["preprocessing"], [], r"run\.preprocessing: expected dict, received \[\]"),
        (["plan", "seed"], "7", r"run\.plan\.seed: expected int, received '7'"),
        (["plan", "seed"], True, r"run\.plan\.seed: expected int, received True"),
        (["classes"], "abc", r"run\.classes: expected list, received 'abc'"),
        (["classes"], [1], r"run\.classes\[0\]: expected str, received 1"),
        (["training"], [], r"run\.training: expected dict, received \[\]"),
        (["library_versions"], {"keras": 3}, r"run\.library_versions\.keras: expected str, received 3"),
    ],
)
def test_a_damaged_record_is_told_by_its_field(finished: Workplace, path: list[str], value: Any, message: str) -> None:
    record = json.loads((finished.run.folder / "run.json").read_text())
    with pytest.raises(Unreadable, match=message):
        read_record(break_record(record, *path, value=value))


def test_a_whole_number_is_taken_where_a_fraction_may_stand(finished: Workplace) -> None:
    record = json.loads((finished.run.folder / "run.json").read_text())
    read = read_record(break_record(record, "training", "test_accuracy", value=1))
    assert read.training.test_accuracy == 1.0


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe"])
@pytest.mark.usefixtures("empty_folder")
def test_a_record_that_is_no_json_is_told_with_its_path(content: bytes) -> None:
    with new_run("digits") as folder:
        (folder / runs.CONFIG).touch()
        (folder / runs.RECORD).write_bytes(content)
    with pytest.raises(Unreadable, match=r"cannot read runs/digits/run\.json: "):
        find_run("digits")


def test_a_class_whose_name_cannot_be_a_files_has_its_number_as_one(tmp_path: Path) -> None:
    pictures = np.arange(3 * 4, dtype=np.uint8).reshape(3, 2, 2, 1)
    dataset = data.DataSet("odd", pictures, np.arange(3), ("1", "a/b", "$x"))
    gray = Preprocessing("image", "COLOR_GRAYSCALE")
    for _ in range(2):  # the second time in place of those of a run that was killed
        fit.write_samples(tmp_path / "samples", dataset, np.arange(3), gray)
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == ["1.png", "_1.png", "_2.png"]
    with Image.open(tmp_path / "samples" / "_1.png") as sample:
        np.testing.assert_array_equal(np.asarray(sample), pictures[1, ..., 0])


def test_a_run_is_not_gone_on_with_other_examples(empty_folder: Path) -> None:
    def stop(_: str) -> None:
        raise KeyboardInterrupt

    pictures = np.random.default_rng(0).integers(0, 256, (30, 8, 8), np.uint8)
    np.savez(empty_folder / "small.npz", x=pictures, y=np.arange(30) % 2)
    plan = Plan("small.npz", "mlp", epochs=2)
    with pytest.raises(Stopped):
        fit.fit(plan, "small", report=stop)
    np.savez(empty_folder / "small.npz", x=pictures[::-1], y=np.arange(30) % 2)
    with pytest.raises(Changed, match=r"'small\.npz' has changed since the run began"):
        fit.fit(plan, "small", resume=True, report=silent)
    np.savez(empty_folder / "small.npz", x=pictures, y=np.arange(30) % 2)
    assert fit.fit(plan, "small", resume=True, report=silent).record.training.epochs == 2
