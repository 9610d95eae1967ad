"""What a training has done so far, epoch by epoch, in the run's folder: enough to go on after a kill."""

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import keras

import strata_training.networks.features  # noqa: F401 - a checkpoint may hold its layers
from strata_training.errors import Unreadable
from strata_training.history import Epoch, read_history, write_history
from strata_training.runs import CHECKPOINTS, HISTORY, MODEL


class Journal:
    """The epochs of a run, and the models after the last and the best of them."""

    def __init__(self, folder: Path) -> None:
        """Read what is there.

        Raises:
            Unreadable: the history is damaged, or shorter than what the checkpoint has seen.
        """
        self._folder = folder
        path = folder / HISTORY
        (folder / CHECKPOINTS).mkdir(exist_ok=True)
        self._checkpoint = max(self._checkpoints(), key=_number, default=None)
        # A row, or the best model, may be of an epoch that was killed before its checkpoint: it is done again.
        count = _number(self._checkpoint) if self._checkpoint else 0
        self.epochs = read_history(path)[:count] if count else []
        if len(self.epochs) != count:
            raise Unreadable(f"{path}: expected {count} epochs, as the checkpoint has")

    @property
    def best(self) -> Epoch | None:
        """The epoch with the lowest validation loss; None where none was a number."""
        numbers = [epoch for epoch in self.epochs if not math.isnan(epoch.val_loss)]
        return min(numbers, key=lambda epoch: epoch.val_loss, default=None)

    def of_stage(self, stage: int) -> Sequence[Epoch]:
        """Return the epochs of one stage."""
        return [epoch for epoch in self.epochs if epoch.stage == stage]

    def load_last(self) -> keras.Model:
        """Return the model after the last epoch, its optimizer as it was."""
        return keras.saving.load_model(self._checkpoint)

    def load_best(self) -> keras.Model:
        """Return the model with the best weights."""
        return keras.saving.load_model(self._folder / MODEL)

    def add(self, epoch: Epoch, model: keras.Model) -> None:
        """Keep an epoch and the model after it: a kill at any moment leaves the one before, or this one."""
        self.epochs.append(epoch)
        if self.best is epoch:
            _save(model, self._folder / MODEL)
        with _replacing(self._folder / HISTORY) as draft:
            write_history(draft, self.epochs)
        before = list(self._checkpoints())
        _save(model, self._folder / CHECKPOINTS / f"{epoch.epoch}.keras")
        for path in before:
            path.unlink()

    def _checkpoints(self) -> Iterator[Path]:
        return (path for path in (self._folder / CHECKPOINTS).glob("*.keras") if path.stem.isdecimal())


def _number(checkpoint: Path) -> int:
    return int(checkpoint.stem)


def _save(model: keras.Model, path: Path) -> None:
    with _replacing(path) as draft:
        model.save(draft)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Give a file to write, which takes the place of another whole or not at all."""
    draft = path.with_name(f".{path.name}")
    draft = draft.with_suffix(path.suffix)
    try:
        yield draft
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
