"""The networks that can be trained, by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strata_training.errors import unknown

if TYPE_CHECKING:
    import keras

INPUT = "image"
"""The name of every network's input."""


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
    build: Callable[[tuple[int, int, int], int], "keras.Model"]
    """Takes (height, width, channels) and the number of classes."""
    tolerance: Tolerance


def find(name: str) -> Network:
    """Return a network.

    Raises:
        NotFound: there is none of that name.
    """
    if name not in NETWORKS:
        raise unknown("network", name, NETWORKS)
    return NETWORKS[name]


def find_tolerance(name: str) -> Tolerance:
    """Return what a network's layers may differ by; a name that is not known here gets the general one."""
    return NETWORKS[name].tolerance if name in NETWORKS else GENERAL_TOLERANCE


def build_cnn(shape: tuple[int, int, int], classes: int) -> "keras.Model":
    """Build the CNN of two convolutions; for 28x28x1 pictures of 10 classes it has 326,568 parameters."""
    import keras
    from keras import layers

    return keras.Sequential(
        [
            keras.Input(shape, name=INPUT),
            layers.Conv2D(25, 3, padding="same", activation="relu", name="conv1"),
            layers.MaxPooling2D(name="pool1"),
            layers.Conv2D(50, 3, padding="same", activation="relu", name="conv2"),
            layers.MaxPooling2D(name="pool2"),
            layers.Flatten(name="flatten"),
            layers.Dense(128, activation="relu", name="dense1"),
            layers.Dropout(0.5, name="dropout"),
            layers.Dense(classes, activation="softmax", name="predictions"),
        ],
        name="cnn",
    )


NETWORKS: Mapping[str, Network] = {
    network.name: network
    for network in [
        # Its activations stay below 10, where float32 sums of this length differ by a few 1e-6.
        Network("cnn", build_cnn, Tolerance(absolute=1e-5, relative=0)),
    ]
}
