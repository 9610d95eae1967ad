from dataclasses import dataclass

import numpy as np

from strata_server.tensors import Array


@dataclass(frozen=True)
class Label:
    """One class and its score."""

    name: str
    index: int
    score: float


def rank_labels(scores: Array, classes: tuple[str, ...], top_k: int) -> list[list[Label]]:
    """Return the best classes of each row, highest score first, equal scores in the order of the classes.

    Args:
        scores: (rows, classes), finite.
        classes: their names; empty for indices.
        top_k: how many for each row; more than there are means all.
    """
    best = np.argsort(-scores.astype(np.float64), axis=1, kind="stable")[:, :top_k]
    return name_labels(np.take_along_axis(scores, best, 1), best, classes)


def name_labels(scores: Array, indices: Array, classes: tuple[str, ...]) -> list[list[Label]]:
    """Return labels for classes that are found already.

    Args:
        scores: (rows, top), of any type of number.
        indices: (rows, top), which classes they belong to.
        classes: their names; empty for indices.
    """
    return [
        [
            Label(classes[index] if classes else str(index), index, float(score))
            for index, score in zip(order, row, strict=True)
        ]
        for order, row in zip(indices.tolist(), scores.tolist(), strict=True)
    ]
