"""The epochs of a finished run, as its `history.csv` has them."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from strata_training.errors import Unreadable
from strata_training.journal import Epoch


def read_history(path: Path) -> Sequence[Epoch]:
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


def _read_epoch(row: Mapping[str, str]) -> Epoch:
    rest = [field.name for field in fields(Epoch) if field.name not in {"epoch", "stage"}]
    return Epoch(int(row["epoch"]), int(row["stage"]), *(float(row[name]) for name in rest))
