"""What is asked: a network, rows, a layer, and how many at a time."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

SIDES = {"digits": (28, 28, 1), "resnet50": (224, 224, 3)}


@dataclass(frozen=True)
class Case:
    """One line of a table."""

    network: str
    rows: int
    concurrency: int
    layer: str = ""
    """Empty asks for the prediction."""
    reduction: str = ""
    """mean, or nothing."""

    @property
    def name(self) -> str:
        """As it stands in tables."""
        asked = f"{self.layer} {self.reduction}".strip() or "prediction"
        images = "1 image" if self.rows == 1 else f"{self.rows} images"
        return f"{self.network}, {asked}, {images}, c={self.concurrency}"

    def draw(self, seed: int) -> Floats:
        """Return random images."""
        return np.random.default_rng(seed).random((self.rows, *SIDES[self.network]), np.float32)


CASES = (
    Case("digits", 1, 1),
    Case("digits", 1, 8),
    Case("digits", 1, 64),
    Case("digits", 32, 1),
    Case("digits", 32, 8),
    Case("digits", 1, 8, "conv1"),
    Case("digits", 1, 8, "conv1", "mean"),
    Case("resnet50", 1, 1),
    Case("resnet50", 1, 8),
    Case("resnet50", 1, 8, "conv1_relu"),
)
