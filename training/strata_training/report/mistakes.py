"""The held-out examples that were wrong with the highest score."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from strata_training.evaluation import Evaluation
from strata_training.preprocessing import Preprocessing
from strata_training.report.picture import Picture, from_image
from strata_training.report.wording import shorten

# Large enough to see, small enough that 24 of them are no burden to a page.
_SIDE = 160
_VALUES_SHOWN = 6
_LONGEST_NAME = 40


@dataclass(frozen=True)
class Mistake:
    """One of them."""

    true: str
    taken_for: str
    score: float
    """Of the wrong class."""
    true_score: float
    picture: Picture | None
    """None for a point."""
    values: str
    """Those of a point."""


def list_mistakes(evaluation: Evaluation, classes: Sequence[str], preprocessing: Preprocessing | None) -> list[Mistake]:
    """Return the mistakes that a run keeps, the worst first."""
    names = [shorten(name, _LONGEST_NAME) for name in classes]
    found = []
    for number, (row, example) in enumerate(zip(evaluation.mistakes, evaluation.pictures, strict=True), 1):
        true, scores = int(evaluation.labels[row]), evaluation.scores[row]
        said = int(scores.argmax())
        picture = None
        if preprocessing is not None and example.ndim == 3:
            alt = f"Mistake {number}: an example of class #{true}, taken for class #{said}."
            picture = from_image(f"mistake-{number:02}.png", _bring_to_size(preprocessing.as_picture(example)), alt)
        values = "" if picture else _show_values(example)
        found.append(Mistake(names[true], names[said], float(scores[said]), float(scores[true]), picture, values))
    return found


def _bring_to_size(image: Image.Image) -> Image.Image:
    longest = max(image.size)
    if longest > _SIDE:
        image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
        return image
    # By a whole number, so that each pixel stays a square.
    factor = max(1, _SIDE // longest)
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def _show_values(example: npt.NDArray[Any]) -> str:
    flat = np.ravel(example)
    shown = ", ".join(f"{value:.3g}" for value in flat[:_VALUES_SHOWN])
    return f"{shown}, …" if len(flat) > _VALUES_SHOWN else shown
