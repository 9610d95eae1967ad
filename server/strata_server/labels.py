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
    names = classes or tuple(map(str, range(scores.shape[1])))
    return [
        [Label(names[index], index, float(row[index])) for index in order.tolist()]
        for row, order in zip(scores, best, strict=True)
    ]
