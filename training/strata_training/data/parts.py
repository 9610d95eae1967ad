"""The parts of a data set: to learn from, to choose by, and to hold out."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from strata_training.data.dataset import DataSet, Rows

TEST_SHARE = 0.2
VALIDATION_SHARE = 0.1
"""Of what the test leaves."""


@dataclass(frozen=True, eq=False)
class Split:
    """A data set divided in three; no row is in two parts, and every class is in each."""

    training: Rows
    """To learn from."""
    validation: Rows
    """To choose the epoch by."""
    test: Rows
    """Held out until the end."""


def split(dataset: DataSet, seed: int, samples_per_class: int = 0) -> Split:
    """Divide a data set so that each part has the classes in the same shares; the same seed, the same parts.

    Args:
        dataset: what `load` returned: at least three rows of each class, or two beside those held out.
        seed: any number from 0 to 2**32 - 1.
        samples_per_class: at most that many rows of each class to learn from; 0: all.
    """
    rows = np.arange(len(dataset.labels))
    if dataset.held_out is None:
        rest, test = _part_off(rows, dataset.labels, TEST_SHARE, seed)
    else:
        rest, test = np.setdiff1d(rows, dataset.held_out), dataset.held_out
    training, validation = _part_off(rest, dataset.labels, VALIDATION_SHARE, seed)
    return Split(_keep_first(training, dataset.labels, samples_per_class), validation, test)


def _part_off(rows: Rows, labels: npt.NDArray[np.int64], share: float, seed: int) -> tuple[Rows, Rows]:
    """Return the rest, and about that share of the rows with at least one row of each class."""
    from sklearn.model_selection import train_test_split

    classes = np.unique(labels[rows])
    count = max(int(np.ceil(share * len(rows))), len(classes))
    rest, part = train_test_split(rows, test_size=count, stratify=labels[rows], random_state=seed)
    # In proportion, a rare class may have no row in the smaller part; it gets one.
    missing = np.setdiff1d(classes, labels[part])
    moved = np.array([np.flatnonzero(labels[rest] == label)[0] for label in missing], np.intp)
    return np.delete(rest, moved), np.concatenate([part, rest[moved]])


def _keep_first(rows: Rows, labels: npt.NDArray[np.int64], samples_per_class: int) -> Rows:
    """Return at most so many rows of each class, in the order they are in."""
    if samples_per_class == 0:
        return rows
    kept = [np.flatnonzero(labels[rows] == label)[:samples_per_class] for label in np.unique(labels[rows])]
    return rows[np.sort(np.concatenate(kept))]
