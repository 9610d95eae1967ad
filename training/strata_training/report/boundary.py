"""Where a network of two values draws the line between its classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from strata_training import data
from strata_training.data import Wanted
from strata_training.errors import TrainingError
from strata_training.evaluation import Evaluation
from strata_training.records import Record
from strata_training.report.picture import Picture, from_figure, make_figure
from strata_training.report.stack import compute
from strata_training.report.wording import make_labels
from strata_training.trace import Trace

# Okabe and Ito's; from the ninth class on they come again, with another marker.
_COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#f0e442", "#777777")
_MARKERS = "osD^vP<>"
_MOST_NAMED = 12
_STEPS = 200

Points = npt.NDArray[np.float32]
"""(points, 2)"""


@dataclass(frozen=True)
class Boundary:
    """The plane of the inputs, by what the network says of it."""

    only_mistakes: bool
    """Whether the data are gone or changed, so that only the points which the run keeps could be drawn."""
    picture: Picture


def show_boundary(network: Trace, record: Record, evaluation: Evaluation) -> Boundary | None:
    """Return the plane with the held-out points; None where the input is not two values, or no point is known."""
    if network.inputs[0].tensor.shape[1:] != (2,):
        return None
    points, rows = load_points(record, evaluation), np.arange(len(evaluation.labels))
    only_mistakes = points is None
    if points is None:
        points, rows = evaluation.pictures, evaluation.mistakes
    if not len(points):
        return None
    return Boundary(only_mistakes, _draw(network, record.classes, points, rows, evaluation))


def load_points(record: Record, evaluation: Evaluation) -> Points | None:
    """Return the held-out points from where the run had them; None where they are gone or others by now."""
    plan = record.plan
    try:
        dataset = data.load(plan.data, Wanted(classes=plan.classes, skip_bad=plan.skip_bad))
    except TrainingError:
        return None
    if dataset.digest != record.training.data_digest:
        return None
    rows = data.split(dataset, plan.seed, plan.samples_per_class).test
    return dataset.inputs[rows] if np.array_equal(dataset.labels[rows], evaluation.labels) else None


def _draw(
    network: Trace, classes: Sequence[str], points: Points, rows: npt.NDArray[np.intp], evaluation: Evaluation
) -> Picture:
    low, high = points.min(axis=0), points.max(axis=0)
    margin = np.maximum((high - low) * 0.15, 0.1)
    (left, bottom), (right, top) = (low - margin).tolist(), (high + margin).tolist()
    across, up = np.meshgrid(np.linspace(left, right, _STEPS), np.linspace(bottom, top, _STEPS))
    plane = np.stack([across.ravel(), up.ravel()], axis=1).astype(np.float32)
    scores = compute(network, network.steps[-1:], plane)[0].reshape(_STEPS, _STEPS, -1)
    figure = make_figure(7.5, 5.6)
    axes = figure.add_subplot()
    axes.imshow(
        _shade(scores), extent=(left, right, bottom, top), origin="lower", aspect="auto", interpolation="bilinear"
    )
    _draw_borders(axes, across, up, scores)
    labels = _draw_points(axes, classes, points, rows, evaluation)
    axes.set(xlabel="first value", ylabel="second value", xlim=(left, right), ylim=(bottom, top))
    # The names are put in afterwards: matplotlib would leave out one that begins with '_', and typeset one with '$'.
    for text, label in zip(figure.legend(loc="outside right upper", frameon=False).get_texts(), labels, strict=True):
        text.set(text=label, parse_math=False)
    alt = f"The plane of the two inputs, colored by the class the network says, with {len(points)} held-out points."
    return from_figure("boundary.png", figure, alt)


def _draw_borders(axes: Axes, across: npt.NDArray[Any], up: npt.NDArray[Any], scores: npt.NDArray[Any]) -> None:
    """Draw a line around what is taken for each class."""
    for number in range(scores.shape[-1]):
        lead = scores[..., number] - np.delete(scores, number, axis=-1).max(axis=-1)
        if lead.min() < 0 < lead.max():
            axes.contour(across, up, lead, levels=[0], colors="#333333", linewidths=1)


def _draw_points(
    axes: Axes, classes: Sequence[str], points: Points, rows: npt.NDArray[np.intp], evaluation: Evaluation
) -> list[str]:
    """Draw points by their true class, and return what the legend calls each kind."""
    true, said = evaluation.labels[rows], evaluation.scores[rows].argmax(axis=1)
    named = []
    for number, label in enumerate(make_labels(classes)):
        own = points[true == number]
        if len(own):
            axes.scatter(
                own[:, 0],
                own[:, 1],
                s=26,
                color=_COLORS[number % len(_COLORS)],
                marker=_MARKERS[number // len(_COLORS) % len(_MARKERS)],
                edgecolors="white",
                linewidths=0.5,
                label="class" if number < _MOST_NAMED else None,
            )
            named += [label] * (number < _MOST_NAMED)
    wrong = points[true != said]
    axes.scatter(wrong[:, 0], wrong[:, 1], s=90, facecolors="none", edgecolors="black", linewidths=1.3, label="mistake")
    return [*named, "mistake"]


def _shade(scores: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the color of each place: that of the class it is taken for, the stronger the higher its score."""
    colors = np.array([to_rgb(_COLORS[number % len(_COLORS)]) for number in range(scores.shape[-1])])
    strength = 0.12 + 0.43 * np.clip(scores.max(axis=-1, keepdims=True), 0, 1)
    shaded: npt.NDArray[Any] = 1 - strength * (1 - colors[scores.argmax(axis=-1)])
    return shaded
