"""The head of a page: what the network saw, and what it answered."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from strata_client.activity import as_floats
from strata_client.formats import format_number, format_score
from strata_client.names import shorten
from strata_client.plots.page import (
    ACCENT,
    BODY_LEFT,
    BODY_WIDTH,
    GRAY,
    LINE,
    MARGIN,
    SIDE_WIDTH,
    WIDTH,
    Page,
)
from strata_client.plots.rankings import draw_ranking
from strata_client.plots.scales import draw_scale, gray_scale
from strata_client.predictions import Label, Prediction

_TOP = 1.1
_PICTURE_HEIGHT = 2.2
_MOST_LABELS = 5


@dataclass(frozen=True, eq=False)
class Seen:
    """What entered the network, of one row and so without the batch."""

    name: str
    values: npt.NDArray[Any]
    """Shape (..., channels), whatever the input's own layout is."""
    shape: tuple[int, ...]
    """In the input's own layout."""


class Header:
    """The part of a page above the layers."""

    def __init__(
        self,
        title: str,
        source: str,
        seen: Seen | None,
        prediction: Prediction | None,
    ) -> None:
        self._title = title
        self._source = source
        self._seen = seen
        self._labels = prediction.labels[:_MOST_LABELS] if prediction else ()
        self.height = _TOP + (_PICTURE_HEIGHT + 0.65 if seen or self._labels else 0)

    def draw(self, page: Page) -> None:
        """Draw it at the top."""
        page.text(MARGIN, 0.42, self._title, fontsize=17, weight="bold")
        page.text(WIDTH - MARGIN, 0.48, shorten(self._source, 45), fontsize=11, color=GRAY, ha="right")
        if self._seen:
            _draw_seen(page, self._seen)
        if self._labels:
            _draw_answer(page, self._labels)


def _draw_seen(page: Page, seen: Seen) -> None:
    """Draw an input: as a picture where it can be one."""
    values = as_floats(seen.values)
    shape = "x".join(map(str, seen.shape)) or "one number"
    if values.ndim in {2, 3} and min(values.shape[:2]) > 1:
        note = _draw_picture(page, values)
    else:
        note = _draw_series(page, values.reshape(-1))
    caption = f"{shorten(seen.name, 24)} {shape}, {note}"
    page.text(MARGIN, _TOP + _PICTURE_HEIGHT + 0.12, caption, color=GRAY)


def _draw_picture(page: Page, values: npt.NDArray[np.floating[Any]]) -> str:
    rows, columns = values.shape[:2]
    size = min(SIDE_WIDTH / columns, _PICTURE_HEIGHT / rows)
    width, height = max(columns * size, 0.15), max(rows * size, 0.15)
    axes = page.axes(MARGIN, _TOP, width, height)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set(color=LINE, linewidth=0.8)
    if values.ndim == 3 and values.shape[2] == 3:
        return _draw_rgb(axes, values)
    channel = values if values.ndim == 2 else values.mean(axis=2)
    scale = gray_scale(channel)
    _show(axes, np.ma.masked_invalid(channel), cmap=scale.colors, norm=scale.norm)
    draw_scale(page.axes(MARGIN + width + 0.1, _TOP, 0.1, height), scale)
    averaged = values.ndim == 3 and values.shape[2] > 1
    return f"its {values.shape[2]} channels averaged" if averaged else "as the network saw it"


def _draw_rgb(axes: Axes, values: npt.NDArray[np.floating[Any]]) -> str:
    finite = values[np.isfinite(values)].astype(np.float64)
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    stretched = (np.nan_to_num(values.astype(np.float64), nan=low) - low) / ((high - low) or 1.0)
    _show(axes, np.clip(stretched, 0, 1))
    return f"as the network saw it: {format_number(low)} (dark) to {format_number(high)}"


def _show(axes: Axes, picture: npt.NDArray[Any], **scale: Any) -> None:
    enlarged = max(picture.shape[:2]) <= 200
    axes.imshow(picture, aspect="auto", interpolation="nearest" if enlarged else "antialiased", **scale)


def _draw_series(page: Page, values: npt.NDArray[np.floating[Any]]) -> str:
    """Draw numbers that are no picture in their own order."""
    axes = page.axes(MARGIN + 0.4, _TOP, SIDE_WIDTH - 0.4, _PICTURE_HEIGHT - 0.25)
    axes.step(range(len(values)), np.where(np.isfinite(values), values, np.nan), color=ACCENT, linewidth=1)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)
    axes.tick_params(labelsize=7.5, labelcolor=GRAY, color=LINE, length=2)
    axes.locator_params(nbins=4)
    return "in its own order"


def _draw_answer(page: Page, labels: tuple[Label, ...]) -> None:
    right = BODY_LEFT + BODY_WIDTH
    page.text(BODY_LEFT, _TOP - 0.08, "answer", color=GRAY, fontsize=10)
    page.text(right, _TOP - 0.08, "score", color=GRAY, fontsize=10, ha="right")
    page.text(BODY_LEFT, _TOP + 0.12, shorten(labels[0].name, 20), color=ACCENT, fontsize=30, weight="bold")
    page.text(right, _TOP + 0.2, format_score(labels[0].score), fontsize=22, ha="right")
    names, scores = [label.name for label in labels], [label.score for label in labels]
    draw_ranking(page, _TOP + 0.84, names, scores)
