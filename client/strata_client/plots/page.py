"""A page: a figure on which everything has its place in inches from the top-left corner.

Automatic layouts move when a label grows; inches do not, and so nothing ever overlaps.
"""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

INK, GRAY, PALE, LINE, TRACK = "#1c2230", "#6b7280", "#c9cfda", "#d5d9e0", "#eef0f4"
ACCENT = "#2a788e"  # the middle of viridis, so that bars and maps look related
ALARM = "#c0392b"  # dead channels, values that are no numbers
POINTS = 1 / 72  # of an inch

WIDTH = 13.0
MARGIN = 0.55
SIDE_WIDTH = 2.5  # the column on the left: the picture, and the profile of each layer
BODY_LEFT = MARGIN + SIDE_WIDTH + 0.6
SCALE_WIDTH = 0.75  # the column on the right: the color scale and its numbers
BODY_WIDTH = WIDTH - MARGIN - SCALE_WIDTH - 0.25 - BODY_LEFT
SCALE_LEFT = WIDTH - MARGIN - SCALE_WIDTH


class Page:
    """A figure of a given height in inches."""

    def __init__(self, height: float) -> None:
        self.figure = Figure(figsize=(WIDTH, height), facecolor="white")
        self._height = height

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Add axes with their top-left corner at a place."""
        bottom = self._height - top - height
        return self.figure.add_axes((left / WIDTH, bottom / self._height, width / WIDTH, height / self._height))

    def text(self, left: float, top: float, text: str, **style: Any) -> None:
        """Write text; `top` is where its first line begins."""
        style = {"va": "top", "color": INK, "fontsize": 9, **style}
        self.figure.text(left / WIDTH, 1 - top / self._height, text, **style)

    def rule(self, top: float) -> None:
        """Draw a line from margin to margin."""
        height = 1 - top / self._height
        line = Line2D((MARGIN / WIDTH, 1 - MARGIN / WIDTH), (height, height), color=LINE, linewidth=0.8)
        self.figure.add_artist(line)
