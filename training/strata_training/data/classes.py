"""The classes of a data set: which of them are wanted, and whether each has enough rows."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from strata_training.data.dataset import DataSet
from strata_training.errors import TrainingError, unknown

THREE_PARTS = "one to learn from, one to choose the epoch by and one to hold out"

_LISTED = 5


def choose(classes: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...]:
    """Return the wanted ones of the classes, in the order they are wanted in; all, if none are named.

    Raises:
        NotFound: one is not there.
        TrainingError: one is wanted twice, or there are two of one name.
    """
    require_distinct(wanted or classes)
    for name in wanted:
        if name not in classes:
            raise unknown("class", name, classes)
    return tuple(wanted or classes)


def require_distinct(classes: Sequence[str]) -> None:
    """Refuse a class that is named twice.

    Raises:
        TrainingError: one is.
    """
    twice = [name for name, count in Counter(classes).items() if count > 1]
    if twice:
        raise TrainingError(f"expected each class once, received more than once: {listed(twice)}")


def select(dataset: DataSet, wanted: Sequence[str]) -> DataSet:
    """Return the rows of the wanted classes, in the order they had.

    Raises:
        NotFound: a class is not there.
        TrainingError: one is wanted twice.
    """
    if not wanted:
        return dataset
    classes = choose(dataset.classes, wanted)
    places = np.full(len(dataset.classes), -1)
    places[[dataset.classes.index(name) for name in classes]] = np.arange(len(classes))
    kept = places[dataset.labels] >= 0
    held_out = dataset.held_out
    if held_out is not None:
        # A row's place among those kept is the number of them before it.
        held_out = (np.cumsum(kept) - 1)[held_out[kept[held_out]]]
    return replace(
        dataset,
        inputs=dataset.inputs[kept],
        labels=places[dataset.labels[kept]],
        classes=classes,
        held_out=held_out,
    )


def require_rows(classes: Sequence[str], counts: Sequence[int], least: int, use: str) -> None:
    """Refuse what no classifier can be learned from.

    Args:
        classes: the names.
        counts: how many rows each has.
        least: how many it must have.
        use: what each needs them for, as the end of a sentence.

    Raises:
        TrainingError: fewer than two classes, or a class with too few rows.
    """
    if len(classes) < 2:
        raise TrainingError(f"expected two classes or more, received {len(classes)}: {listed(classes)}")
    few = [f"{name!r} has {count}" for name, count in zip(classes, counts, strict=True) if count < least]
    if few:
        more = f" and {len(few) - _LISTED} more" if len(few) > _LISTED else ""
        raise TrainingError(
            f"expected at least {least} examples of each class, {use}; received fewer: {', '.join(few[:_LISTED])}{more}"
        )


def require_divisible(dataset: DataSet) -> None:
    """Refuse a data set that cannot be split so that each class is in each part.

    Raises:
        TrainingError: fewer than two classes, or a class with too few rows.
    """
    counts = list(dataset.class_counts.values())
    if dataset.held_out is None:
        require_rows(dataset.classes, counts, 3, THREE_PARTS)
        return
    held_out = np.bincount(dataset.labels[dataset.held_out], minlength=len(counts)).tolist()
    rest = [whole - part for whole, part in zip(counts, held_out, strict=True)]
    require_rows(dataset.classes, held_out, 1, "to hold out, in the test part")
    require_rows(dataset.classes, rest, 2, "one to learn from and one to choose the epoch by, beside the test part")


def listed(names: Sequence[str]) -> str:
    """Return names for a message: the first few."""
    more = f", and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(map(repr, names[:_LISTED])) + more
