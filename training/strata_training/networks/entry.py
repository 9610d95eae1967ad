"""How a network of dense layers begins."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from strata_training.errors import Unsupported
from strata_training.networks.network import INPUT, POINTS

if TYPE_CHECKING:
    import keras


def make_entry(shape: tuple[int, ...], augmentation: Sequence["keras.layers.Layer"]) -> list[Any]:
    """Return the input and, for pictures, the augmentation and a layer that flattens them.

    Raises:
        Unsupported: augmentation of points, which are no pictures.
    """
    import keras

    if len(shape) > 1:
        return [keras.Input(shape, name=INPUT), *augmentation, keras.layers.Flatten(name="flatten")]
    if augmentation:
        raise Unsupported("augmentation changes pictures: expected none for points")
    return [keras.Input(shape, name=POINTS)]
