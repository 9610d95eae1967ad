"""The most active channels of a layer in full: as maps, as strips, or as bars."""

from math import ceil
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from strata_client.formats import format_briefly
from strata_client.plots.page import (
    ACCENT,
    ALARM,
    BODY_LEFT,
    BODY_WIDTH,
    GRAY,
    INK,
    LINE,
    PALE,
    SCALE_LEFT,
    Page,
)
from strata_client.plots.rankings import ROW_HEIGHT, draw_ranking
from strata_client.plots.scales import Scale, draw_scale, scale_for
from strata_client.plots.subjects import Subject

_SCALE_BAR_WIDTH = 0.13
_SCALE_HEIGHTS = (0.5, 1.6)  # enough for three numbers, and no taller than helps


class Body(Protocol):
    """The most active channels in full."""

    shown: int
    """How many channels it shows."""
    height: float
    """In inches."""

    @property
    def rule(self) -> str:
        """What the order means."""

    def draw(self, page: Page, top: float) -> None:
        """Draw it at the right of the side column."""


def make_body(subject: Subject, columns: int) -> Body:
    """Choose the form that suits the shape; maps stand in that many columns."""
    if not subject.ranked.size:
        return Nothing(f"every one of the {subject.activity.channel_count:,} {subject.channel_noun} is dead")
    if np.isnan(subject.activity.mean):
        return Nothing("no value is a finite number")
    if subject.classes:
        return Scores(subject)
    if subject.is_vector:
        return Bars(subject)
    return Strips(subject) if subject.values.ndim == 2 else Maps(subject, columns)


class Nothing:
    """Says why there is nothing to draw."""

    shown = 0
    height = 0.5
    rule = ""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def draw(self, page: Page, top: float) -> None:
        """Write the reason."""
        page.text(BODY_LEFT, top + 0.12, self._reason, fontsize=11, color=ALARM)


class Maps:
    """Feature maps as tiles under one color scale, each with its channel's number and strength."""

    _MOST = 24
    _GAP = 0.09
    _LABEL_HEIGHT = 0.2
    _HEIGHTS = (0.25, 2.0)  # of a tile by its width: beyond them a map is squeezed rather than unreadable

    def __init__(self, subject: Subject, columns: int) -> None:
        self._subject = subject
        self._channels = subject.ranked[: self._MOST]
        self.shown = len(self._channels)
        self._columns = min(columns, 6) if self.shown <= 6 else columns
        self._width = BODY_WIDTH / self._columns - self._GAP
        rows, columns = subject.values.shape[-3:-1]
        self._tile_height = self._width * float(np.clip(rows / columns, *self._HEIGHTS))
        self._pitch = self._tile_height + self._LABEL_HEIGHT + self._GAP / 2
        self.height = ceil(self.shown / self._columns) * self._pitch

    @property
    def rule(self) -> str:
        """What the order means, and what was averaged away before."""
        axes = self._subject.values.shape[:-3]
        averaged = f"; maps are averaged over the first axes, {'x'.join(map(str, axes))}" if axes else ""
        return f"by mean |activation| over the map{averaged}"

    def draw(self, page: Page, top: float) -> None:
        """Draw the tiles and their scale."""
        axes = _blank(page, BODY_LEFT, top, BODY_WIDTH, self.height)
        values = self._subject.values
        maps = values.mean(axis=tuple(range(values.ndim - 3)))[..., self._channels]
        scale = scale_for(maps)
        for place, channel in enumerate(self._channels):
            row, column = divmod(place, self._columns)
            corner = column * (self._width + self._GAP), row * self._pitch + self._LABEL_HEIGHT
            self._draw_tile(axes, maps[..., place], corner, scale)
            self._draw_label(axes, int(channel), corner)
        _draw_scale(page, top + self._LABEL_HEIGHT, self.height - self._LABEL_HEIGHT - self._GAP / 2, scale)

    def _draw_tile(
        self,
        axes: Axes,
        tile: npt.NDArray[np.floating[Any]],
        corner: tuple[float, float],
        scale: Scale,
    ) -> None:
        left, top = corner
        axes.imshow(
            np.ma.masked_invalid(tile),
            extent=(left, left + self._width, top + self._tile_height, top),
            cmap=scale.colors,
            norm=scale.norm,
            aspect="auto",
            # Crisp pixels when enlarged; when reduced, none may fall out.
            interpolation="nearest" if max(tile.shape) <= 64 else "antialiased",
        )
        axes.add_patch(Rectangle(corner, self._width, self._tile_height, fill=False, edgecolor=PALE, linewidth=0.6))

    def _draw_label(self, axes: Axes, channel: int, corner: tuple[float, float]) -> None:
        left, top = corner
        strength = format_briefly(self._subject.activity.strengths[channel])
        axes.text(left, top - 0.045, str(channel), fontsize=7.5, color=INK, weight="bold")
        axes.text(left + self._width, top - 0.045, strength, fontsize=7.5, color=GRAY, ha="right")


class Strips:
    """Channels along one dimension, such as time: a row each, under one color scale."""

    _MOST = 16
    _ROW_HEIGHT = 0.17
    _LABEL_WIDTH = 0.95
    rule = "by mean |activation| over the positions, which run from left to right"

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._channels = subject.ranked[: self._MOST]
        self.shown = len(self._channels)
        self.height = max(0.6, self.shown * self._ROW_HEIGHT)

    def draw(self, page: Page, top: float) -> None:
        """Draw the rows and their scale."""
        strips = self._subject.values[:, self._channels].T
        scale = scale_for(strips)
        axes = page.axes(BODY_LEFT + self._LABEL_WIDTH, top, BODY_WIDTH - self._LABEL_WIDTH, self.height)
        axes.imshow(
            np.ma.masked_invalid(strips),
            cmap=scale.colors,
            norm=scale.norm,
            aspect="auto",
            interpolation="nearest" if strips.shape[1] <= 800 else "antialiased",
        )
        axes.set_axis_off()
        for place, channel in enumerate(self._channels):
            middle = top + (place + 0.5) * self.height / self.shown
            strength = format_briefly(self._subject.activity.strengths[channel])
            page.text(BODY_LEFT, middle, str(channel), fontsize=7.5, weight="bold", va="center")
            right = BODY_LEFT + self._LABEL_WIDTH - 0.12
            page.text(right, middle, strength, fontsize=7.5, color=GRAY, ha="right", va="center")
        _draw_scale(page, top, self.height, scale)


class Bars:
    """Units with a single number each, by their index."""

    _MOST = 24
    _WIDEST = 0.75
    _LABEL_HEIGHT = 0.25
    height = 1.55
    rule = "by |activation|"

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._channels = subject.ranked[: self._MOST]
        self.shown = len(self._channels)
        self._pitch = min(BODY_WIDTH / self.shown, self._WIDEST)

    def draw(self, page: Page, top: float) -> None:
        """Draw the bars, with their values above and their numbers below."""
        values = self._subject.values.reshape(-1)[self._channels].astype(np.float64)
        lengths = np.nan_to_num(values, nan=0, posinf=0, neginf=0)
        height = self.height - self._LABEL_HEIGHT
        axes = page.axes(BODY_LEFT, top, self._pitch * self.shown, height)
        axes.bar(range(self.shown), lengths, width=0.72, color=ACCENT)
        axes.set_xlim(-0.5, self.shown - 0.5)
        axes.set_ylim(*_limits(lengths))
        axes.axhline(0, color=LINE, linewidth=0.8)
        axes.set_axis_off()
        for place, (channel, value) in enumerate(zip(self._channels, values, strict=True)):
            _draw_value(axes, place, value, lengths[place])
            middle = BODY_LEFT + (place + 0.5) * self._pitch
            page.text(middle, top + height + 0.06, str(channel), fontsize=7.5, ha="center")


class Scores:
    """Classes by name, the best one highlighted."""

    _MOST = 10
    rule = "by score"

    def __init__(self, subject: Subject) -> None:
        best = subject.ranked[: self._MOST]
        self._names = [subject.classes[channel] for channel in best]
        self._scores = [float(subject.values[channel]) for channel in best]
        self.shown = len(best)
        self.height = self.shown * ROW_HEIGHT

    def draw(self, page: Page, top: float) -> None:
        """Draw a row for each class."""
        draw_ranking(page, top, self._names, self._scores)


def _limits(lengths: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return the ends of an axis that leaves room for a number at the end of each bar."""
    low, high = min(0.0, lengths.min()), max(0.0, lengths.max())
    room = (high - low) * 0.16 or 1.0
    return low - room if low < 0 else 0.0, high + room if high > 0 or low == 0 else 0.0


def _draw_value(axes: Axes, place: int, value: float, length: float) -> None:
    axes.annotate(
        format_briefly(value),
        (place, length),
        (0, 2 if length >= 0 else -2),
        textcoords="offset points",
        ha="center",
        va="bottom" if length >= 0 else "top",
        fontsize=7,
        color=GRAY if np.isfinite(value) else ALARM,
    )


def _blank(page: Page, left: float, top: float, width: float, height: float) -> Axes:
    """Add axes whose coordinates are inches from their own top-left corner."""
    axes = page.axes(left, top, width, height)
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_axis_off()
    return axes


def _draw_scale(page: Page, top: float, height: float, scale: Scale) -> None:
    draw_scale(page.axes(SCALE_LEFT, top, _SCALE_BAR_WIDTH, float(np.clip(height, *_SCALE_HEIGHTS))), scale)
