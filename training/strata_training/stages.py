"""The training itself: stages of epochs, gone on with where a journal says."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import tensorflow as tf

from strata_training.errors import Diverged, Unsupported
from strata_training.examples import Examples
from strata_training.journal import Journal
from strata_training.keeper import Keeper, Report, is_stuck
from strata_training.progress import ProgressBar
from strata_training.records import Plan
from strata_training.runs import LOGS

_LOSSES = {"softmax": "categorical_crossentropy", "sigmoid": "binary_crossentropy"}


@dataclass(frozen=True)
class Stage:
    """Some epochs in which the same layers learn at the same rate."""

    epochs: int
    """The most that are run."""
    learning_rate: float
    prepare: Callable[[keras.Model], None] | None = None
    """Sets which layers learn; None lets all."""


def train(
    folder: Path,
    plan: Plan,
    build: Callable[[], keras.Model],
    stages: Sequence[Stage],
    parts: tuple[Examples, Examples],
    report: Report,
) -> Journal:
    """Train from where the journal in a folder ends, which may be nowhere yet or at the end.

    Args:
        folder: the run's.
        plan: batch size, patience and seed count here.
        build: makes the model to begin with.
        stages: one after the other; each later one begins with the best weights so far.
        parts: what is learned from, and what the epoch is chosen by.
        report: takes a line for each epoch.

    Raises:
        Diverged: the validation loss was never a number.
        Unsupported: the model's last layer is neither a softmax nor a sigmoid.
    """
    journal = Journal(folder)
    for number, stage in enumerate(stages, 1):
        done = journal.of_stage(number)
        if len(done) >= stage.epochs or is_stuck(done, plan.patience) or _is_past(journal, number):
            continue
        if done:
            model = journal.load_last()
        else:
            model = journal.load_best() if number > 1 else build()
            if stage.prepare:
                stage.prepare(model)
            _compile(model, stage.learning_rate)
        keeper = Keeper(journal, stage=number, patience=plan.patience, seed=plan.seed, report=report)
        _run(model, plan, stage.epochs - len(done), parts, [keeper, *_followers(folder)], journal)
        if journal.best is None:
            raise Diverged(
                f"the validation loss was never a number in {len(journal.epochs)} epochs: "
                f"expected a learning rate that lets it fall, received {stage.learning_rate:g}"
            )
    return journal


def _is_past(journal: Journal, stage: int) -> bool:
    return bool(journal.epochs) and journal.epochs[-1].stage > stage


def _compile(model: keras.Model, learning_rate: float) -> None:
    model.compile(
        keras.optimizers.Adam(learning_rate),
        loss=_LOSSES[find_output(model)],
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
    )


def find_output(model: keras.Model) -> str:
    """Return the activation of a model's last layer: softmax or sigmoid.

    Raises:
        Unsupported: it is another one.
    """
    name = getattr(getattr(model.layers[-1], "activation", None), "__name__", type(model.layers[-1]).__name__.lower())
    if name not in _LOSSES:
        raise Unsupported(
            f"layer {model.layers[-1].name!r}: expected the last layer to be a softmax or a sigmoid, received {name}"
        )
    return name


def _run(
    model: keras.Model,
    plan: Plan,
    epochs: int,
    parts: tuple[Examples, Examples],
    callbacks: list[keras.callbacks.Callback],
    journal: Journal,
) -> None:
    training, validation = parts
    before = len(journal.epochs)
    model.fit(
        training.shuffled(plan.batch_size, plan.seed, before),
        steps_per_epoch=training.steps(plan.batch_size),
        initial_epoch=before,
        epochs=before + epochs,
        validation_data=validation.in_order(plan.batch_size),
        callbacks=callbacks,
        shuffle=False,  # the pipeline has its own order
        verbose=0,
    )


def _followers(folder: Path) -> list[keras.callbacks.Callback]:
    return [keras.callbacks.TensorBoard(folder / LOGS, write_graph=False), ProgressBar()]


def make_repeatable(seed: int) -> None:
    """Let the same seed give the same weights, on as many CPUs."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
