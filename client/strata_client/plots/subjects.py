"""What a section of a page is about: one activation of one row."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from strata_client.activity import Activity, Array, as_floats, measure
from strata_client.formats import format_number
from strata_client.names import shorten

_LONGEST_TITLE = 78  # characters that fit beside the figures
_SHORTEST_NAME = 40  # characters of a layer's name, whatever else the title holds


@dataclass(frozen=True, eq=False)
class Subject:
    """One activation of one row, and what is known of its layer."""

    name: str
    values: npt.NDArray[np.floating[Any]]
    """Shape (..., channels), without the batch, whatever the layer's own layout is."""
    shape: tuple[int, ...]
    """In the layer's own layout, without the batch."""
    activity: Activity
    kind: str
    """What computes it, such as Conv2D; empty where it is not known."""
    classes: tuple[str, ...]
    """The names of the channels, where they are classes."""

    @property
    def is_vector(self) -> bool:
        """Whether each channel is a single number."""
        return self.values.size == self.activity.channel_count

    @property
    def ranked(self) -> npt.NDArray[np.intp]:
        """The channels worth showing: the most active first and no dead ones, or all classes, best first."""
        if not self.classes:
            return self.activity.rank()
        return np.argsort(-self.values.astype(np.float64), kind="stable")

    @property
    def dead_count(self) -> int:
        """How many channels are dead; a class with a score of 0 is not."""
        return 0 if self.classes else self.activity.dead_count

    @property
    def channel_noun(self) -> str:
        """What its channels are called."""
        noun = "class" if self.classes else "unit" if self.is_vector else "channel"
        return noun if self.activity.channel_count == 1 else {"class": "classes"}.get(noun, f"{noun}s")

    @property
    def title(self) -> str:
        """The layer, its shape, and how many channels are dead."""
        shape = "x".join(map(str, self.shape)) or "1"
        dead = f", {self.dead_count:,} dead" if self.dead_count else ""
        count = f"{self.activity.channel_count:,} {self.channel_noun}"
        rest = f"   {shape}: {count}{dead}"
        return f"{shorten(self.name, max(_SHORTEST_NAME, _LONGEST_TITLE - len(rest)))}{rest}"

    @property
    def figures(self) -> str:
        """The range of its values, their mean, and the share that is 0."""
        activity = self.activity
        if np.isnan(activity.mean):
            return "no finite value"
        smallest, mean, largest = map(format_number, (activity.smallest, activity.mean, activity.largest))
        return f"{smallest} to {largest}, mean {mean}, {activity.zero_share:.0%} zeros"


def make_subject(
    name: str, activation: Array, kind: str = "", classes: Sequence[str] = (), channel_axis: int = -1
) -> Subject:
    """Make a subject of an activation of one row, shape (1, ...)."""
    activity = measure(activation, channel_axis)
    values = place_channels_last(as_floats(activation), channel_axis)[0]
    values = values.reshape(*values.shape[:-1], activity.channel_count)
    named = values.shape == (len(classes),)
    return Subject(name, values, activation.shape[1:], activity, kind, tuple(classes) if named else ())


def place_channels_last(values: Array, channel_axis: int) -> Array:
    """Return (rows, ..., channels); what has no more than its rows is left as it is."""
    return np.moveaxis(values, channel_axis, -1) if values.ndim > 1 else values
