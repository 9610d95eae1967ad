"""What a training has done so far, epoch by epoch, in the run's folder: enough to go on after a kill."""

import csv
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path

import keras

import strata_training.networks.features  # noqa: F401 - a checkpoint may hold its layers
from strata_training.errors import Unreadable
from strata_training.runs import CHECKPOINTS, HISTORY, MODEL


@dataclass(frozen=True)
class Epoch:
    """The figures of one epoch: a row of `history.csv`, whose columns are these."""

    epoch: int
    """From 1."""
    stage: int
    """From 1; fine-tuning may have two."""
    learning_rate: float
    accuracy: float
    """Share of what was learned from that was classified right, on the way, 0..1."""
    loss: float
    val_accuracy: float
    val_loss: float
    """What the best epoch is chosen by."""


class Journal:
    """The epochs of a run, and the models after the last and the best of them."""

    def __init__(self, folder: Path) -> None:
        """Read what is there.

        Raises:
            Unreadable: the history is damaged, or shorter than what the checkpoint has seen.
        """
        self._folder = folder
        (folder / CHECKPOINTS).mkdir(exist_ok=True)
        self._checkpoint = max(self._checkpoints(), key=_number, default=None)
        # A row, or the best model, may be of an epoch that was killed before its checkpoint: it is done again.
        self.epochs = self._read_history()[: _number(self._checkpoint) if self._checkpoint else 0]
        if self._checkpoint and len(self.epochs) != _number(self._checkpoint):
            raise Unreadable(f"{folder / HISTORY}: expected {_number(self._checkpoint)} epochs, as the checkpoint has")

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
        self._write_history()
        before = list(self._checkpoints())
        _save(model, self._folder / CHECKPOINTS / f"{epoch.epoch}.keras")
        for path in before:
            path.unlink()

    def _checkpoints(self) -> Iterator[Path]:
        return (path for path in (self._folder / CHECKPOINTS).glob("*.keras") if path.stem.isdecimal())

    def _read_history(self) -> list[Epoch]:
        path = self._folder / HISTORY
        if not path.exists():
            return []
        try:
            with path.open(encoding="utf-8", newline="") as file:
                return [_read_epoch(row) for row in csv.DictReader(file)]
        except (KeyError, TypeError, ValueError) as error:
            raise Unreadable(f"{path} is damaged: {error}") from error

    def _write_history(self) -> None:
        with _replacing(self._folder / HISTORY) as draft, draft.open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(asdict(self.epochs[0]))
            rows.writerows(map(astuple, self.epochs))


def _read_epoch(row: Mapping[str, str]) -> Epoch:
    rest = [field.name for field in fields(Epoch) if field.name not in {"epoch", "stage"}]
    return Epoch(int(row["epoch"]), int(row["stage"]), *(float(row[name]) for name in rest))


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
