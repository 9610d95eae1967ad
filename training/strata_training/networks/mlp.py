"""Dense layers, one after the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strata_training.networks.entry import make_entry
from strata_training.networks.network import Network, Tolerance

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class MlpOptions:
    """What is chosen of an MLP."""

    units: tuple[int, ...] = (128, 64)
    """Of each layer but the last; none for a network of one layer."""
    activation: str = "relu"
    """Of all layers but the last."""
    dropout: float = 0.0
    """Share of the units before the last layer that is left out at random while it learns; 0 for no such layer."""


def build_mlp(
    shape: tuple[int, ...], classes: int, options: MlpOptions, augmentation: Sequence["keras.layers.Layer"] = ()
) -> "keras.Model":
    """Build an MLP; pictures are flattened before it."""
    import keras
    from keras import layers

    dense = [
        layers.Dense(units, activation=options.activation, name=f"dense{number}")
        for number, units in enumerate(options.units, 1)
    ]
    dropout = [layers.Dropout(options.dropout, name="dropout")] if options.dropout else []
    head = layers.Dense(classes, activation="softmax", name="predictions")
    return keras.Sequential([*make_entry(shape, augmentation), *dense, *dropout, head], name="mlp")


# At most 8e-6 of a layer's largest magnitude was measured, with weights five times those that it begins with.
_TOLERANCE = Tolerance(absolute=1e-6, relative=2e-5)

MLP = Network(
    "mlp",
    "dense layers, one after the other",
    MlpOptions,
    build_mlp,
    _TOLERANCE,
    takes="both",
)
