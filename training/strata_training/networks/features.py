"""The layer that computes polynomial features."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from strata_training.networks.polynomial import HIGHEST_DEGREE, MOST_FEATURES


@keras.saving.register_keras_serializable(package="strata")
class PolynomialFeatures(keras.layers.Layer):  # type: ignore[misc] # Keras has no types
    """All products of up to `degree` inputs, none twice, by their degree: for a, b and 2: a, b, aa, ab, bb.

    Takes (batch, inputs) and gives (batch, features). The constant is left out: the bias of a dense layer is one.
    """

    def __init__(self, degree: int = 2, **kwargs: Any) -> None:
        """Set the highest degree, from 1 to `HIGHEST_DEGREE`."""
        super().__init__(**kwargs)
        if not 1 <= degree <= HIGHEST_DEGREE:
            raise ValueError(f"expected a degree from 1 to {HIGHEST_DEGREE}, received {degree}")
        self.degree = degree
        self._factors: Sequence[Any] = []

    def build(self, input_shape: tuple[int | None, int]) -> None:
        """List the factors of each feature: for each degree a column for each factor.

        Raises:
            ValueError: there are more features than `MOST_FEATURES`, which a stranger's file may ask for.
        """
        features = count_features(input_shape[-1], self.degree)
        if features > MOST_FEATURES:
            raise ValueError(f"expected at most {MOST_FEATURES:,} polynomial features, received {features:.3g}")
        places = range(input_shape[-1])
        self._factors = [
            np.array(list(itertools.combinations_with_replacement(places, degree)), np.int32)
            for degree in range(2, self.degree + 1)
        ]

    def call(self, inputs: Any) -> Any:
        """Compute the features."""
        return keras.ops.concatenate([inputs, *(_multiply(inputs, factors) for factors in self._factors)], axis=-1)

    def compute_output_shape(self, input_shape: tuple[int | None, int]) -> tuple[int | None, int]:
        """Return (batch, features)."""
        return input_shape[0], count_features(input_shape[-1], self.degree)

    def get_config(self) -> dict[str, Any]:
        """Return what a file keeps of it."""
        return {**super().get_config(), "degree": self.degree}


def count_features(inputs: int, degree: int) -> int:
    """Return how many features there are: the monomials of some variables up to a degree, but the constant."""
    return math.comb(inputs + degree, degree) - 1


def _multiply(inputs: Any, factors: Any) -> Any:
    """Multiply columns of (batch, inputs); the factors are (features, degree)."""
    product = keras.ops.take(inputs, factors[:, 0], axis=-1)
    for column in factors.T[1:]:
        product = product * keras.ops.take(inputs, column, axis=-1)
    return product
