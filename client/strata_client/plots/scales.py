"""Color scales with numbers."""

from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize

from strata_client.formats import format_number
from strata_client.plots.page import ALARM, GRAY, INK


@dataclass(frozen=True)
class Scale:
    """Which number has which color."""

    norm: Normalize
    colors: Colormap


def scale_for(values: npt.NDArray[np.floating[Any]]) -> Scale:
    """Return the scale for some values: from 0 where none is negative, else with 0 in the middle."""
    finite = values[np.isfinite(values)].astype(np.float64)
    largest = float(np.abs(finite).max(initial=0)) or 1.0
    if (finite < 0).any():
        return Scale(Normalize(-largest, largest), _colors("RdBu_r"))
    return Scale(Normalize(0, largest), _colors("viridis"))


def gray_scale(values: npt.NDArray[np.floating[Any]]) -> Scale:
    """Return the scale of a picture with one channel: from black to white, whatever its range is."""
    finite = values[np.isfinite(values)].astype(np.float64)
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    # A picture of one value still wants two ends.
    return Scale(Normalize(low, high if high > low else low + 1), _colors("gray"))


def draw_scale(axes: Axes, scale: Scale) -> None:
    """Draw a scale as a bar, with its two ends and the middle as numbers."""
    low, high = float(scale.norm.vmin or 0), float(scale.norm.vmax or 0)
    ticks = [low, (low + high) / 2, high]
    colorbar = axes.figure.colorbar(ScalarMappable(scale.norm, scale.colors), cax=axes, ticks=ticks)
    colorbar.ax.set_yticks(ticks, [format_number(tick) for tick in ticks])
    colorbar.ax.tick_params(length=2, pad=3, labelsize=8, labelcolor=INK, color=GRAY)
    colorbar.outline.set_visible(False)


def _colors(name: str) -> Colormap:
    return mpl.colormaps[name].with_extremes(bad=ALARM)
