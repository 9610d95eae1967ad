"""The field as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from benchmarks.field.cases import Case

_COLUMNS = 3
_PANEL_INCHES = (4.4, 3.4)
_OURS, _LIMIT, _OTHERS = "#1f6feb", "#9a9a9a", "#d9a441"


def draw_field(rates: Mapping[Case, Mapping[str, float]], limits: Mapping[Case, float], target: Path) -> None:
    """Draw requests per second of each server, a panel for each case in which there is another to compare with.

    Args:
        rates: requests per second, by case and server.
        limits: of onnxruntime in process, a line where there is one.
        target: a .png file.
    """
    others = {case: {name: rate for name, rate in each.items() if name != "gRPC echo"} for case, each in rates.items()}
    rates = {case: each for case, each in others.items() if any(not name.startswith("Strata") for name in each)}
    rows = -(-len(rates) // _COLUMNS)
    size = (_PANEL_INCHES[0] * _COLUMNS, _PANEL_INCHES[1] * rows)
    figure, axes = plt.subplots(rows, _COLUMNS, figsize=size, squeeze=False)
    for panel in axes.flat[len(rates) :]:
        panel.axis("off")
    for panel, (case, each) in zip(axes.flat, rates.items(), strict=False):
        _draw_case(panel, case, sorted(each.items(), key=lambda pair: pair[1]), limits.get(case))
    figure.suptitle("Requests per second on one core; the dashed line is onnxruntime in process", y=1.0)
    figure.tight_layout()
    figure.savefig(target, dpi=90)
    plt.close(figure)


def _draw_case(panel: Axes, case: Case, rates: Sequence[tuple[str, float]], limit: float | None) -> None:
    names = [name for name, _ in rates]
    values = [rate for _, rate in rates]
    bars = panel.barh(names, values, color=[_OURS if name.startswith("Strata") else _OTHERS for name in names])
    labels = [f"{value:,.0f}" if value >= 100 else f"{value:.1f}" for value in values]
    background = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
    panel.bar_label(bars, labels, fontsize=7, padding=3, bbox=background)
    if limit:
        panel.axvline(limit, color=_LIMIT, linestyle="--", linewidth=1)
    panel.set_title(case.name, fontsize=9)
    panel.tick_params(labelsize=7)
    panel.set_xlim(0, max([*values, limit or 0]) * 1.18)
    panel.spines[["top", "right"]].set_visible(False)
