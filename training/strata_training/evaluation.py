"""What a network says of the examples that were held out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from strata_training.errors import Unreadable
from strata_training.examples import Examples

_MISTAKES_KEPT = 24


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The scores of the held-out examples, and the worst mistakes as pictures."""

    labels: npt.NDArray[np.int64]
    """(rows,): the right classes."""
    scores: npt.NDArray[np.float32]
    """(rows, classes)"""
    mistakes: npt.NDArray[np.intp]
    """(at most 24,): the rows that are wrong with the highest score, the worst first."""
    pictures: npt.NDArray[Any]
    """(mistakes, height, width, channels): uint8, as they were before the preprocessing; of points, themselves."""

    @property
    def confusion(self) -> npt.NDArray[np.int64]:
        """(classes, classes): how many of each class, by row, were taken for each, by column."""
        classes = self.scores.shape[1]
        counts = np.bincount(self.labels * classes + self.scores.argmax(axis=1), minlength=classes**2)
        return counts.reshape(classes, classes)

    def write(self, path: Path) -> None:
        """Write it as an .npz file."""
        np.savez_compressed(
            path, labels=self.labels, scores=self.scores, mistakes=self.mistakes, pictures=self.pictures
        )


def evaluate(model: keras.Model, held_out: Examples, batch_size: int) -> Evaluation:
    """Return what a model says of examples."""
    scores = model.predict(held_out.in_order(batch_size), verbose=0)
    said = scores.argmax(axis=1)
    wrong = np.flatnonzero(said != held_out.labels)
    worst = wrong[np.argsort(-scores[wrong, said[wrong]], kind="stable")][:_MISTAKES_KEPT]
    return Evaluation(held_out.labels, scores, worst, held_out.inputs[worst])


def read_evaluation(path: Path) -> Evaluation:
    """Return the evaluation that a run holds.

    Raises:
        Unreadable: there is none, or it is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Evaluation(arrays["labels"], arrays["scores"], arrays["mistakes"], arrays["pictures"])
    except Exception as error:  # a damaged archive can make numpy raise anything
        raise Unreadable(f"cannot read {path}: {error}") from error
