"""Stages of a convolution and a pooling, then dense layers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strata_training.errors import Unsupported
from strata_training.networks.network import INPUT, Network, Tolerance

if TYPE_CHECKING:
    import keras

_POOL = 2


@dataclass(frozen=True)
class CnnOptions:
    """What is chosen of a CNN."""

    filters: tuple[int, ...] = (25, 50)
    """Of each stage."""
    kernel: int = 3
    """Height and width of a filter, in pixels."""
    stride: int = 1
    """Of each convolution, in pixels."""
    padding: str = "same"
    activation: str = "relu"
    """Of all layers but the last."""
    units: tuple[int, ...] = (128,)
    """Of each dense layer before the last."""
    dropout: float = 0.5
    """Share of the last of these layers that is left out at random while it learns."""


@dataclass(frozen=True)
class Cnn8x8Options(CnnOptions):
    """What is chosen of the CNN for pictures of 8 x 8 pixels."""

    filters: tuple[int, ...] = (64, 64)


def build_cnn(
    shape: tuple[int, ...],
    classes: int,
    options: CnnOptions = CnnOptions(),
    augmentation: Sequence["keras.layers.Layer"] = (),
) -> "keras.Model":
    """Build a CNN; by default, for 28x28x1 pictures of 10 classes, it has two stages and 326,568 parameters.

    Raises:
        Unsupported: the pictures are too small for the stages.
    """
    import keras
    from keras import layers

    _check_sizes(shape[:2], options)
    stages = [
        layer
        for number, filters in enumerate(options.filters, 1)
        for layer in (
            layers.Conv2D(
                filters,
                options.kernel,
                strides=options.stride,
                padding=options.padding,
                activation=options.activation,
                name=f"conv{number}",
            ),
            layers.MaxPooling2D(_POOL, name=f"pool{number}"),
        )
    ]
    dense = [
        layers.Dense(units, activation=options.activation, name=f"dense{number}")
        for number, units in enumerate(options.units, 1)
    ]
    return keras.Sequential(
        [
            keras.Input(shape, name=INPUT),
            *augmentation,
            *stages,
            layers.Flatten(name="flatten"),
            *dense,
            layers.Dropout(options.dropout, name="dropout"),
            layers.Dense(classes, activation="softmax", name="predictions"),
        ],
        name="cnn",
    )


def _check_sizes(size: tuple[int, ...], options: CnnOptions) -> None:
    """Check that each stage leaves something for the next."""
    picture = _show(size)
    if options.kernel > min(size):
        raise Unsupported(f"kernel: expected at most the picture's {picture} pixels, received {options.kernel}")
    for number in range(1, len(options.filters) + 1):
        before = size
        size = tuple(_convolve(length, options) // _POOL for length in size)
        if min(size) < 1:
            raise Unsupported(
                f"stage {number} of {len(options.filters)}: a picture of {picture} comes to {_show(before)} before it, "
                f"and a kernel of {options.kernel}, a stride of {options.stride}, padding {options.padding!r} and a "
                f"pooling of {_POOL} x {_POOL} leave nothing of that; expected larger pictures or fewer stages"
            )


def _convolve(length: int, options: CnnOptions) -> int:
    """Return the length of a side after a convolution, in pixels; 0 for none."""
    if options.padding == "same":
        return -(-length // options.stride)
    return max(0, (length - options.kernel) // options.stride + 1)


def _show(size: tuple[int, ...]) -> str:
    return " x ".join(map(str, size))


# On the digits its activations stay below 10, where float32 sums of this length differ by a few 1e-6.
_TOLERANCE = Tolerance(absolute=1e-5, relative=0)
# At most 3e-6 of a layer's largest magnitude was measured, with weights five times those that it begins with.
_TOLERANCE_8X8 = Tolerance(absolute=1e-6, relative=2e-5)

CNN = Network("cnn", "stages of a convolution and a pooling, then a dense layer", CnnOptions, build_cnn, _TOLERANCE)
CNN_8X8 = Network(
    "cnn8x8",
    "the cnn for pictures of 8 x 8 pixels, with 64 filters in each stage",
    Cnn8x8Options,
    build_cnn,
    _TOLERANCE_8X8,
    image_size=(8, 8),
)
