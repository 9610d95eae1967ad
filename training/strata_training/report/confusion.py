"""Which classes are taken for which."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm

from strata_training.report.picture import Picture, from_figure, make_figure
from strata_training.report.wording import make_labels, shorten

Counts = npt.NDArray[np.int64]
"""(classes, classes): of each class, by row, how many were taken for each, by column."""

_MOST_WITH_NUMBERS = 20
_PAIRS_SHOWN = 10


@dataclass(frozen=True)
class ClassRow:
    """What is known of one class."""

    number: int
    name: str
    examples: int
    """In all parts of the data together."""
    held_out: int
    recall: float | None
    """Share of its held-out examples that were recognized; None where there is none."""
    precision: float | None
    """Share of the answers with this class that were right; None where it was never the answer."""


@dataclass(frozen=True)
class Pair:
    """A mistake that was made more than once, or once."""

    true: str
    taken_for: str
    count: int
    share: float
    """Of the class's held-out examples."""


def make_rows(counts: Counts, classes: Sequence[str], examples: Mapping[str, int]) -> list[ClassRow]:
    """Return a row for each class, in the order of the scores."""
    right, held_out, answers = counts.diagonal().tolist(), counts.sum(axis=1).tolist(), counts.sum(axis=0).tolist()
    return [
        ClassRow(
            number,
            shorten(name),
            examples.get(name, 0),
            held_out[number],
            _share(right[number], held_out[number]),
            _share(right[number], answers[number]),
        )
        for number, name in enumerate(classes)
    ]


def list_pairs(counts: Counts, classes: Sequence[str]) -> list[Pair]:
    """Return the most frequent mistakes, the most frequent first."""
    wrong = counts - np.diag(counts.diagonal())
    order = np.argsort(-wrong, axis=None, kind="stable")[:_PAIRS_SHOWN]
    pairs = zip(*np.unravel_index(order, wrong.shape), strict=True)
    return [
        Pair(classes[true], classes[said], int(wrong[true, said]), float(wrong[true, said] / counts[true].sum()))
        for true, said in pairs
        if wrong[true, said]
    ]


def draw_confusion(counts: Counts, classes: Sequence[str]) -> Picture:
    """Draw the matrix: with names and numbers for a few classes, as a map for many."""
    few = len(classes) <= _MOST_WITH_NUMBERS
    side = min(8.5, 2.8 + 0.4 * len(classes))
    figure = make_figure(1.12 * side + 0.9, side)
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # By the square root: a few mistakes among many examples would else be as white as none.
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    bar = figure.colorbar(image, ax=axes, shrink=0.8, label="share of the class's examples")
    bar.set_ticks([0, 0.05, 0.25, 0.5, 1], labels=["0", "5%", "25%", "50%", "100%"])
    axes.set(xlabel="taken for", ylabel="true class")
    if few:
        _write_names(axes, make_labels(classes))
        _write_numbers(axes, counts, shares)
    return from_figure("confusion.png", figure, _describe(counts))


def _write_names(axes: Axes, labels: Sequence[str]) -> None:
    places = range(len(labels))
    # Without mathtext: a class may be named '$'.
    if max(map(len, labels)) > 3:
        axes.set_xticks(places, labels, parse_math=False, rotation=45, ha="right")
    else:
        axes.set_xticks(places, labels, parse_math=False)
    axes.set_yticks(places, labels, parse_math=False)


def _write_numbers(axes: Axes, counts: Counts, shares: npt.NDArray[np.float64]) -> None:
    size = 11 if len(counts) <= 10 else 8
    for (true, said), count in np.ndenumerate(counts):
        if count:
            color = "white" if shares[true, said] > 0.3 else "black"
            axes.text(said, true, f"{count}", ha="center", va="center", color=color, fontsize=size)


def _describe(counts: Counts) -> str:
    right, total = int(counts.trace()), int(counts.sum())
    return f"Confusion matrix of {len(counts)} classes: {right:,} of {total:,} held-out examples lie on the diagonal."


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
