"""A whole figure, and the file it goes to."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from matplotlib import style
from matplotlib.figure import Figure

from strata_client.activity import Array
from strata_client.catalog import Description
from strata_client.errors import InvalidArgument
from strata_client.files import replacing
from strata_client.names import shorten
from strata_client.plots.headers import Header, Seen
from strata_client.plots.page import GRAY, MARGIN, Page
from strata_client.plots.sections import Section
from strata_client.plots.subjects import Subject, make_subject, place_channels_last
from strata_client.predictions import Prediction
from strata_client.reductions import NONE, Reduction

FORMATS = ("png", "svg", "pdf")
_DOTS_PER_INCH = 120
_FOOT_HEIGHT = 0.55
_FOOT = (
    "Over a map: the channel's index, and its mean |activation|. "
    "Dead: 0 everywhere for this input. NaN is drawn in red."
)
# Columns of maps: large ones where there is room, small ones on a page of many layers.
_FEW_LAYERS, _FEW_COLUMNS, _MANY_COLUMNS = 3, 8, 12


def draw(
    activations: Mapping[str, Array],
    *,
    description: Description | None = None,
    seen: Array | None = None,
    prediction: Prediction | None = None,
    source: str = "",
    row: int = 0,
    reductions: Mapping[str, Reduction] | None = None,
) -> Figure:
    """Draw what a network did with one row.

    Args:
        activations: for each layer an array of shape (rows, ...), as `Client.activations` returns. Its last axis
            counts its channels, unless the description says otherwise.
        description: of the model: its name, and of its layers their kinds and where their channels are.
        seen: the activation of the input itself, shape (rows, ...).
        prediction: what the model answered.
        source: where the input is from, such as a file's name.
        row: which row to draw.
        reductions: what was done to each layer before it was sent, to be said beside its kind.

    Raises:
        InvalidArgument: a layer holds text, of which there is no picture. Text that entered is left out.
    """
    for name, values in activations.items():
        if values.dtype.hasobject:
            raise InvalidArgument(f"a plot can be drawn of numbers; layer {name!r} holds text")
    if seen is not None and seen.dtype.hasobject:
        seen = None
    with _styled():
        header = Header(
            f"{shorten(description.name, 36)} version {description.version}" if description else "",
            source,
            None if seen is None else _see(seen[row : row + 1], description),
            prediction,
        )
        columns = _FEW_COLUMNS if len(activations) <= _FEW_LAYERS else _MANY_COLUMNS
        sections = [
            Section(_subject(name, values[row : row + 1], description, (reductions or {}).get(name, NONE)), columns)
            for name, values in activations.items()
        ]
        page = Page(header.height + sum(section.height for section in sections) + _FOOT_HEIGHT)
        header.draw(page)
        top = header.height
        for section in sections:
            section.draw(page, top)
            top += section.height
        page.rule(top)
        page.text(MARGIN, top + 0.15, _FOOT, fontsize=8, color=GRAY)
        return page.figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure in the format that the path's ending names, whole or not at all.

    Raises:
        OSError: it cannot be written there.
    """
    with _styled(), replacing(path) as file:
        figure.savefig(file, format=path.suffix.removeprefix(".").lower(), dpi=_DOTS_PER_INCH)


@contextmanager
def _styled() -> Iterator[None]:
    """Let no one's matplotlibrc, and no dollar sign in a layer's name, change what is drawn."""
    with (
        style.context(["default", {"text.parse_math": False, "text.usetex": False}]),
        warnings.catch_warnings(),
    ):
        # The font lacks the letters of some languages: they become boxes, which says enough.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        yield


def _subject(name: str, activation: Array, description: Description | None, reduction: Reduction) -> Subject:
    layer = description.find(name) if description else None
    reduced = "" if reduction == NONE else f"reduced by {reduction}"
    kind = ", ".join(filter(None, (layer.kind if layer else "", reduced)))
    classes = description.classes if description and layer and layer.default_exit else ()
    channel_axis = description.channel_axis(name, activation.ndim) if description else -1
    return make_subject(name, activation, kind, classes, channel_axis)


def _see(seen: Array, description: Description | None) -> Seen:
    if description is None:
        return Seen("input", seen[0], seen.shape[1:])
    channel_axis = description.channel_axis(description.entry, seen.ndim)
    return Seen(description.entry, place_channels_last(seen, channel_axis)[0], seen.shape[1:])
