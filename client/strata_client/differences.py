"""How far two versions of a network are apart, layer by layer, for the same inputs."""

from dataclasses import dataclass
from math import inf


@dataclass(frozen=True)
class Difference:
    """How far one layer is apart.

    Equal values differ by 0, NaN and NaN as well; NaN or an infinity and anything else differ by infinity, and so
    do texts.
    """

    name: str
    kind: str
    """What computes it in A."""
    largest: float
    """The largest |a - b| over all rows; NaN where it could not be compared."""
    mean: float
    """The mean |a - b|."""
    magnitude: float
    """The largest finite |a|."""
    past: bool
    """Whether the largest difference is more than the tolerance times the magnitude."""
    error: str = ""
    """Why it could not be compared; empty where it was."""

    @property
    def relative(self) -> float:
        """The largest difference by the magnitude: infinite where A is 0 everywhere and B is not."""
        return divide(self.largest, self.magnitude)


@dataclass(frozen=True)
class Differences:
    """How far two versions are apart."""

    a: str
    """`NAME:VERSION` of the one that is taken to be right."""
    b: str
    rows: int
    tolerance: float
    layers: tuple[Difference, ...]
    """What both have with the same name and shape, in the order of A's catalog: by depth."""
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    reshaped: tuple[str, ...]
    """What both have, but in different shapes."""
    before_entry: tuple[str, ...]
    """What both have, but no deeper than where the request enters the network."""

    @property
    def first_past(self) -> Difference | None:
        """The first layer that is past the tolerance; None where none is."""
        return next((layer for layer in self.layers if layer.past), None)

    @property
    def agree(self) -> bool:
        """Whether every layer could be compared and is within the tolerance."""
        return not any(layer.past or layer.error for layer in self.layers)


def divide(largest: float, magnitude: float) -> float:
    """Return how large a difference is beside a magnitude: 0 where there is none, infinite where that is 0."""
    if magnitude > 0:
        return largest / magnitude
    return inf if largest > 0 else largest
