"""The course of the training, epoch by epoch."""

import itertools
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from strata_training.history import Epoch
from strata_training.report.picture import Picture, from_figure, make_figure

# Of Okabe and Ito's palette, which people who see few colors can tell apart; the dashes say the same without color.
TRAINING = "#0072b2"
VALIDATION = "#d55e00"
_BEST = "#333333"


def draw_curves(epochs: Sequence[Epoch], best: int) -> Picture:
    """Draw loss and accuracy of training and validation.

    Args:
        epochs: of the whole run, one at least.
        best: the number of the epoch whose weights were kept.
    """
    figure = make_figure(10, 3.8)
    loss, accuracy = figure.subplots(1, 2)
    _draw(loss, epochs, best, "loss")
    _draw(accuracy, epochs, best, "accuracy")
    figure.legend(*loss.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return from_figure("curves.png", figure, _describe(epochs, best))


def _draw(axes: Axes, epochs: Sequence[Epoch], best: int, figure: str) -> None:
    numbers = [epoch.epoch for epoch in epochs]
    validation = [getattr(epoch, f"val_{figure}") for epoch in epochs]
    axes.plot(numbers, [getattr(epoch, figure) for epoch in epochs], color=TRAINING, marker="o", ms=3, label="training")
    axes.plot(numbers, validation, color=VALIDATION, marker="s", ms=3, linestyle="--", label="validation")
    if best in numbers:
        axes.axvline(best, color=_BEST, linewidth=1, linestyle=":", zorder=1)
        kept = validation[numbers.index(best)]
        axes.plot(best, kept, "*", color=_BEST, ms=11, linestyle="none", label=f"best epoch: {best}")
    for before, after in itertools.pairwise(epochs):
        if before.stage != after.stage:
            _mark_stage(axes, before.epoch + 0.5, after.stage)
            axes.margins(y=0.15)  # so that the lines leave the mark alone
    axes.set(xlabel="epoch", title=figure.capitalize(), xlim=(min(numbers) - 0.5, max(numbers) + 0.5))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _mark_stage(axes: Axes, place: float, stage: int) -> None:
    axes.axvline(place, color="#777777", linewidth=1.2)
    axes.annotate(
        f"stage {stage}",
        (place, 1),
        xycoords=axes.get_xaxis_transform(),
        xytext=(4, -11),
        textcoords="offset points",
        color="#555555",
        fontsize=9,
    )


def _describe(epochs: Sequence[Epoch], best: int) -> str:
    first, last = epochs[0], epochs[-1]
    return (
        f"Two charts over {len(epochs)} epochs. Validation loss goes from {first.val_loss:.4g} to {last.val_loss:.4g}, "
        f"validation accuracy from {first.val_accuracy:.1%} to {last.val_accuracy:.1%}; the best epoch is {best}."
    )
