"""Classes with their scores, best first: a name, a bar and a number each."""

from collections.abc import Sequence

import numpy as np

from strata_client.formats import format_score
from strata_client.names import shorten
from strata_client.plots.page import ACCENT, BODY_LEFT, BODY_WIDTH, GRAY, INK, PALE, TRACK, Page

ROW_HEIGHT = 0.26
_LONGEST_NAME = 28
_CHARACTER_WIDTH = 0.085  # inches of an average one in the type of the names
_SCORE_WIDTH = 0.75


def draw_ranking(page: Page, top: float, names: Sequence[str], scores: Sequence[float]) -> None:
    """Draw a row of ROW_HEIGHT for each class; the first is highlighted as the answer."""
    names = [shorten(name, _LONGEST_NAME) for name in names]
    left = BODY_LEFT + 0.3 + max(map(len, names)) * _CHARACTER_WIDTH
    right = BODY_LEFT + BODY_WIDTH
    lengths = np.nan_to_num(np.maximum(scores, 0), posinf=0)
    # A full bar is 1 where the scores can be probabilities.
    full = 1.0 if lengths.max() <= 1 and min(scores) >= 0 else lengths.max() or 1.0
    places = range(len(names))
    axes = page.axes(left, top, right - _SCORE_WIDTH - left, len(names) * ROW_HEIGHT)
    axes.barh(places, full, height=0.5, color=TRACK)
    axes.barh(places, lengths, height=0.5, color=[ACCENT, *[PALE] * (len(names) - 1)])
    axes.set_xlim(0, full)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_axis_off()
    for place, name, score in zip(places, names, scores, strict=True):
        best = {"color": INK, "weight": "bold"} if place == 0 else {"color": GRAY}
        middle = top + (place + 0.5) * ROW_HEIGHT
        page.text(BODY_LEFT, middle, name, va="center", **best)
        page.text(right, middle, format_score(score), va="center", ha="right", **best)
