"""The epochs of a run, as its `history.csv` has them."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path

from strata_training.errors import Unreadable


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


def read_history(path: Path) -> list[Epoch]:
    """Return the epochs that a run went through.

    Raises:
        Unreadable: there is no history, or it is damaged.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            epochs = [_read_epoch(row) for row in csv.DictReader(file)]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise Unreadable(f"cannot read {path}: {error}") from error
    if not epochs:
        raise Unreadable(f"{path} has no epoch")
    return epochs


def write_history(path: Path, epochs: Sequence[Epoch]) -> None:
    """Write the epochs of a run; at least one."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(asdict(epochs[0]))
        rows.writerows(map(astuple, epochs))


def _read_epoch(row: Mapping[str, str]) -> Epoch:
    rest = [field.name for field in fields(Epoch) if field.name not in {"epoch", "stage"}]
    return Epoch(int(row["epoch"]), int(row["stage"]), *(float(row[name]) for name in rest))
