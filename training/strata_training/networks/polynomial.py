"""One dense layer on polynomial features: the one-layer network whose boundary is not a line."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strata_training.errors import Unsupported
from strata_training.networks.entry import make_entry
from strata_training.networks.network import Network, Tolerance

if TYPE_CHECKING:
    import keras

MOST_FEATURES = 200_000
"""More would be a dense layer of gigabytes for a few hundred classes, and of no use."""


HIGHEST_DEGREE = 16
"""Far beyond what float32 can hold of most values."""


@dataclass(frozen=True)
class PolynomialOptions:
    """What is chosen of the polynomial network."""

    degree: int = 2
    """The most inputs that are multiplied with each other."""
    output: str = "softmax"


def build_polynomial(
    shape: tuple[int, ...], classes: int, options: PolynomialOptions, augmentation: Sequence["keras.layers.Layer"] = ()
) -> "keras.Model":
    """Build the polynomial network.

    Raises:
        Unsupported: there would be more than `MOST_FEATURES`.
    """
    import keras

    from strata_training.networks.features import PolynomialFeatures, count_features

    values = math.prod(shape)
    features = count_features(values, options.degree)
    if features > MOST_FEATURES:
        raise Unsupported(
            f"{values:,} values have {features:,} polynomial features up to degree {options.degree}: "
            f"expected at most {MOST_FEATURES:,}; smaller pictures or a lower degree have fewer"
        )
    return keras.Sequential(
        [
            *make_entry(shape, augmentation),
            PolynomialFeatures(options.degree, name="polynomial"),
            keras.layers.Dense(classes, activation=options.output, name="predictions"),
        ],
        name="polynomial",
    )


# At most 6e-7 of a layer's largest magnitude was measured, of up to 166,000 features.
_TOLERANCE = Tolerance(absolute=1e-6, relative=2e-5)

POLYNOMIAL = Network(
    "polynomial",
    "one layer on polynomial features, whose boundary is not a line",
    PolynomialOptions,
    build_polynomial,
    _TOLERANCE,
    takes="both",
)
