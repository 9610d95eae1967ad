"""What the first layer looks for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from strata_training.preprocessing import Preprocessing
from strata_training.report.picture import Picture, from_figure, make_figure
from strata_training.trace import Step, Trace

_MOST = 64
_COLUMNS = 8
# Before a dense layer these leave the picture's values as they are, or only scale them.
_HARMLESS = (keras.layers.Flatten, keras.layers.Reshape, keras.layers.Rescaling, keras.layers.Dropout)


@dataclass(frozen=True)
class Filters:
    """The weights of the first layer as pictures."""

    layer: str
    is_dense: bool
    shown: int
    count: int
    averaged: int
    """Channels whose mean is drawn; 0 where each is."""
    picture: Picture


def show_filters(network: Trace, preprocessing: Preprocessing | None) -> Filters | None:
    """Return the filters of the first convolution, or the weights of a first dense layer that takes a picture."""
    shape = network.inputs[0].tensor.shape[1:]
    found = _find_convolution(network.steps) or _find_dense(network.steps, shape)
    if found is None:
        return None
    step, kernels = found
    channels = kernels.shape[2]
    if channels == 3 and preprocessing is not None and preprocessing.color == "COLOR_BGR":
        kernels = kernels[:, :, ::-1]
    averaged = 0 if channels in (1, 3) else channels
    if averaged:
        kernels = kernels.mean(axis=2, keepdims=True)
    count = kernels.shape[-1]
    tiles = [_stretch(kernels[..., number]) for number in range(min(count, _MOST))]
    is_dense = isinstance(step.layer, keras.layers.Dense)
    return Filters(step.name, is_dense, len(tiles), count, averaged, _draw(tiles))


def _find_convolution(steps: Sequence[Step]) -> tuple[Step, npt.NDArray[Any]] | None:
    """Return the first convolution, and its filters as (height, width, channels, filters)."""
    for step in steps:
        if isinstance(step.layer, keras.layers.Conv2D):
            return step, _read(step.layer.kernel)
        if isinstance(step.layer, keras.layers.DepthwiseConv2D):
            return step, _one_by_one(step.layer.kernel)
        if isinstance(step.layer, keras.layers.SeparableConv2D):
            return step, _one_by_one(step.layer.depthwise_kernel)
    return None


def _one_by_one(kernel: Any) -> npt.NDArray[Any]:
    """Return the filters of a layer that looks at each channel alone."""
    values = _read(kernel)
    return values.reshape(*values.shape[:2], 1, -1)


def _find_dense(steps: Sequence[Step], shape: tuple[int, ...]) -> tuple[Step, npt.NDArray[Any]] | None:
    if len(shape) != 3:
        return None
    for step in steps:
        if isinstance(step.layer, keras.layers.Dense):
            kernel = _read(step.layer.kernel)
            return (step, kernel.reshape(*shape, -1)) if len(kernel) == np.prod(shape) else None
        if not isinstance(step.layer, _HARMLESS):
            return None
    return None


def _read(weight: Any) -> npt.NDArray[Any]:
    return np.nan_to_num(np.asarray(keras.ops.convert_to_numpy(weight), np.float32))


def _stretch(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return values from the lowest as 0 to the highest as 1; equal ones as a half."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.full_like(values, 0.5)


def _draw(tiles: Sequence[npt.NDArray[Any]]) -> Picture:
    rows = -(-len(tiles) // _COLUMNS)
    figure = make_figure(_COLUMNS * 0.95, rows * 1.1)
    for number, tile in enumerate(tiles):
        axes = figure.add_subplot(rows, _COLUMNS, number + 1)
        axes.imshow(tile, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(str(number), fontsize=8, pad=2)
        axes.set(xticks=[], yticks=[])
    return from_figure("filters.png", figure, f"{len(tiles)} small pictures, one for each filter of the first layer.")
