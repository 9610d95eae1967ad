"""What a plan comes to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras

from strata_training.data import DataSet
from strata_training.preprocessing import Preprocessing
from strata_training.stages import Stage


@dataclass(frozen=True)
class Course:
    """The data, the network that learns from it, and in which stages."""

    network: str
    """Its name; empty where nobody knows it."""
    dataset: DataSet
    preprocessing: Preprocessing | None
    """Of pictures; None for points."""
    build: Callable[[], keras.Model]
    """Makes the network as it is before it learns."""
    stages: Sequence[Stage]
