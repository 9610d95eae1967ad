"""A picture of the report: a file beside the page, and the same bytes within it."""

import base64
import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass

import matplotlib.style
from markupsafe import Markup
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from strata_training.report.wording import FONT

_DOTS_PER_INCH = 150
_CSS_PIXELS_PER_INCH = 96


@dataclass(frozen=True)
class Picture:
    """A PNG file."""

    name: str
    """Of the file."""
    png: bytes
    alt: str
    """What it shows, for whoever does not see it."""
    size: tuple[int, int]
    """Width and height on the page, in CSS pixels; the file may have more."""

    @property
    def uri(self) -> Markup:
        """The picture itself as a data: URI."""
        return Markup("data:image/png;base64,") + base64.b64encode(self.png).decode()


@contextlib.contextmanager
def plain_style() -> Iterator[None]:
    """Draw in this block as matplotlib does by default, whatever a user's own settings are."""
    with matplotlib.style.context(["default", {"font.family": FONT, "font.size": 10}]):
        yield


def make_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def from_figure(name: str, figure: Figure, alt: str) -> Picture:
    """Return a figure as a picture."""
    written = io.BytesIO()
    # Without matplotlib's version in it, which would be the one thing that changes from machine to machine.
    figure.savefig(written, format="png", dpi=_DOTS_PER_INCH, metadata={"Software": None})
    width, height = (round(inches * _CSS_PIXELS_PER_INCH) for inches in figure.get_size_inches())
    return Picture(name, written.getvalue(), alt, (width, height))


def from_image(name: str, image: Image.Image, alt: str) -> Picture:
    """Return an image as a picture."""
    written = io.BytesIO()
    image.save(written, "PNG")
    return Picture(name, written.getvalue(), alt, image.size)
