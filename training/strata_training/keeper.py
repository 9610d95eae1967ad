"""Keeps the journal while a model learns."""

import math
from collections.abc import Callable, Sequence

import keras

from strata_training.history import Epoch
from strata_training.journal import Journal

Report = Callable[[str], None]


class Keeper(keras.callbacks.Callback):  # type: ignore[misc] # Keras has no types
    """Writes each epoch down, makes chance repeatable, and stops what gets no better."""

    def __init__(self, journal: Journal, *, stage: int, patience: int, seed: int, report: Report) -> None:
        """Take all that it needs; `report` gets a line for each epoch."""
        super().__init__()
        self._journal = journal
        self._stage = stage
        self._patience = patience
        self._seed = seed
        self._report = report

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002 - Keras's
        """Set what the random layers draw from: it depends on the seed and the epoch alone, not on the past."""
        states = [variable for variable in self.model.variables if variable.name == "seed_generator_state"]
        for place, state in enumerate(states):
            state.assign([(self._seed + place) % 2**32, epoch])

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keep the epoch, tell it, and stop when the last ones were no better."""
        figures = {name: float((logs or {})[name]) for name in ("accuracy", "loss", "val_accuracy", "val_loss")}
        rate = float(self.model.optimizer.learning_rate.numpy())
        done = Epoch(epoch=epoch + 1, stage=self._stage, learning_rate=rate, **figures)
        self._journal.add(done, self.model)
        told = "  ".join(f"{name} {value:.4f}" for name, value in figures.items())
        self._report(f"epoch {done.epoch}/{self.params['epochs']}  {told}")
        if is_stuck(self._journal.of_stage(self._stage), self._patience):
            self.model.stop_training = True


def is_stuck(epochs: Sequence[Epoch], patience: int) -> bool:
    """Say whether the last epochs of a stage, `patience` of them, are no better than the best before them."""
    losses = [math.inf if math.isnan(epoch.val_loss) else epoch.val_loss for epoch in epochs]
    return len(losses) > patience and min(losses[-patience:]) >= min(losses[:-patience])
