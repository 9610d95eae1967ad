"""Training: from a plan to a run."""

import csv
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from PIL import Image

from strata_training import data, networks, runs
from strata_training.augmentation import add_shifted
from strata_training.data import DataSet, Rows, Split
from strata_training.errors import Diverged
from strata_training.libraries import training_versions
from strata_training.preprocessing import Preprocessing
from strata_training.records import Figures, Plan, Record
from strata_training.runs import Run

Report = Callable[[str], None]
History = Mapping[str, Sequence[float]]
_CHOSEN_BY = "val_loss"


@dataclass(frozen=True, eq=False)
class _Examples:
    """Rows of the input, and the labels that are right for them."""

    inputs: npt.NDArray[np.float32]
    """(rows, height, width, channels)"""
    labels: npt.NDArray[np.int64]


def fit(plan: Plan, name: str, *, overwrite: bool = False, report: Report | None = None) -> Run:
    """Train a network and write the run; the same plan on the same machine gives the same weights.

    Args:
        plan: what to learn, and how.
        name: the run's.
        overwrite: whether a run of that name may be lost.
        report: takes a line for each epoch; without it Keras shows its bar.

    Raises:
        NotFound: an unknown data set or network.
        BadName: the name cannot be a folder's.
        Exists: a run of that name is there.
        Diverged: the validation loss was never a number.
    """
    network = networks.find(plan.network)
    dataset = data.load(plan.data)
    with runs.new_run(name, overwrite=overwrite) as folder:
        keras.utils.set_random_seed(plan.seed)
        tf.config.experimental.enable_op_determinism()
        options = networks.make_options(network, {})
        model = network.build(dataset.inputs.shape[1:], len(dataset.classes), options, [])
        record = _fill(folder, plan, dataset, model, report)
    return Run(runs.RUNS / name, record)


def _fill(folder: Path, plan: Plan, dataset: DataSet, model: keras.Model, report: Report | None) -> Record:
    """Train, measure, and write all that a run holds."""
    parts = data.split(dataset, plan.seed)
    preprocessing = describe_preprocessing(dataset)
    training = _take(dataset, parts.training, preprocessing, plan.shift_pixels)
    validation = _take(dataset, parts.validation, preprocessing)
    callbacks = _callbacks(plan, folder, report)
    history = _train(model, plan, training, validation, callbacks, bar=report is None)
    _write_history(folder / runs.HISTORY, history)
    # The held-out pictures are used here for the first time, with the weights that were kept.
    loss, accuracy = _measure(folder / runs.MODEL, _take(dataset, parts.test, preprocessing))
    figures = _describe(dataset, parts, history[_CHOSEN_BY], loss, accuracy)
    record = Record(plan, figures, dataset.classes, preprocessing, training_versions())
    (folder / runs.RECORD).write_text(record.to_json(), encoding="utf-8")
    write_samples(folder / runs.SAMPLES, dataset, parts.test)
    return record


def describe_preprocessing(dataset: DataSet) -> Preprocessing:
    """Return what happens to the pictures of a data set before they enter a network."""
    color = "COLOR_GRAYSCALE" if dataset.inputs.shape[-1] == 1 else "COLOR_RGB"
    return Preprocessing(input=networks.INPUT, color=color)


def write_samples(folder: Path, dataset: DataSet, held_out: Rows) -> None:
    """Write the first held-out picture of each class as CLASS.png, whether or not it is classified right."""
    folder.mkdir()
    for label, name in enumerate(dataset.classes):
        row = held_out[np.flatnonzero(dataset.labels[held_out] == label)[0]]
        pixels = dataset.inputs[row]
        # Pillow takes a grayscale picture without the axis of its one channel.
        Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(folder / f"{name}.png")


def _take(dataset: DataSet, rows: Rows, preprocessing: Preprocessing, shift_pixels: int = 0) -> _Examples:
    images, labels = add_shifted(dataset.inputs[rows], dataset.labels[rows], shift_pixels)
    return _Examples(preprocessing.apply(images), labels)


def _train(
    model: keras.Model,
    plan: Plan,
    training: _Examples,
    validation: _Examples,
    callbacks: list[keras.callbacks.Callback],
    *,
    bar: bool,
) -> History:
    """Return the figures of each epoch, by their names."""
    optimizer = keras.optimizers.Adam(plan.learning_rate)
    model.compile(optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    done = model.fit(
        training.inputs,
        training.labels,
        batch_size=plan.batch_size,
        epochs=plan.epochs,
        validation_data=(validation.inputs, validation.labels),
        callbacks=callbacks,
        verbose=1 if bar else 0,
    )
    history: History = done.history
    if not np.isfinite(history[_CHOSEN_BY]).any():
        raise Diverged(
            f"the validation loss was never a number in {len(done.epoch)} epochs: "
            f"expected a learning rate that lets it fall, received {plan.learning_rate:g}"
        )
    return history


def _write_history(path: Path, history: History) -> None:
    # Keras's CSVLogger would leave its file open when a fit is broken off.
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["epoch", *history])
        rows.writerows(zip(itertools.count(), *history.values(), strict=False))


def _callbacks(plan: Plan, folder: Path, report: Report | None) -> list[keras.callbacks.Callback]:
    callbacks = [
        keras.callbacks.ModelCheckpoint(folder / runs.MODEL, monitor=_CHOSEN_BY, save_best_only=True),
        keras.callbacks.EarlyStopping(monitor=_CHOSEN_BY, patience=plan.patience),
    ]
    return [*callbacks, _epoch_lines(plan.epochs, report)] if report else callbacks


def _epoch_lines(epochs: int, report: Report) -> keras.callbacks.Callback:
    def tell(epoch: int, logs: dict[str, float]) -> None:
        figures = "  ".join(f"{name} {value:.4f}" for name, value in logs.items())
        report(f"epoch {epoch + 1}/{epochs}  {figures}")

    return keras.callbacks.LambdaCallback(on_epoch_end=tell)


def _measure(model: Path, held_out: _Examples) -> tuple[float, float]:
    """Return the loss and the accuracy of the weights that were kept."""
    best = keras.saving.load_model(model)
    reached = best.evaluate(held_out.inputs, held_out.labels, verbose=0, return_dict=True)
    return float(reached["loss"]), float(reached["accuracy"])


def _describe(dataset: DataSet, parts: Split, chosen_by: Sequence[float], loss: float, accuracy: float) -> Figures:
    return Figures(
        data_digest=dataset.digest,
        epochs=len(chosen_by),
        best_epoch=int(np.nanargmin(chosen_by)) + 1,
        training_rows=len(parts.training),
        validation_rows=len(parts.validation),
        test_rows=len(parts.test),
        test_accuracy=accuracy,
        test_loss=loss,
    )
