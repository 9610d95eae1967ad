"""What is known of a network before it is built."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import keras

INPUT = "image"
"""The name of the input of every network that takes pictures."""

POINTS = "features"
"""The name of the input of every network that takes points."""

Build = Callable[[tuple[int, ...], int, Any, Sequence["keras.layers.Layer"]], "keras.Model"]


@dataclass(frozen=True)
class Tolerance:
    """The difference from Keras that a layer may have: absolute + relative * its largest magnitude."""

    absolute: float
    relative: float

    def allow(self, largest_magnitude: float) -> float:
        """Return the largest difference that is allowed."""
        return self.absolute + self.relative * largest_magnitude


GENERAL_TOLERANCE = Tolerance(absolute=1e-6, relative=1e-4)
"""For a network that nobody here has measured."""


@dataclass(frozen=True)
class Network:
    """A network that is not built yet."""

    name: str
    text: str
    """What it is, in one line."""
    options: type
    """A frozen dataclass whose fields all have defaults; `make_options` makes one."""
    build: Build
    """Takes the shape of one example, (height, width, channels) or (features,), the number of classes, the options,
    and layers to put right behind the input."""
    tolerance: Tolerance
    image_size: tuple[int, int] | None = None
    """Height and width of the pictures it wants; None for those that there are."""
    color: str | None = None
    """The name of a strata.v1.Color; None for that of the pictures."""
    scale: float = 1 / 255
    """What it wants pixels of 0..255 to be multiplied by."""
    means: tuple[float, ...] = ()
    """What is subtracted from each channel afterwards; empty means 0."""
    deviations: tuple[float, ...] = ()
    """What each channel is divided by at the end; empty means 1."""
    takes: Literal["pictures", "points", "both"] = "pictures"
