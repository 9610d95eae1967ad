"""What layers make of a few pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from strata_training.preprocessing import Preprocessing
from strata_training.report.picture import Picture, from_figure, make_figure
from strata_training.report.samples import Sample
from strata_training.report.stack import compute
from strata_training.trace import Step, Trace

_CHANNELS_SHOWN = 8
_CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)
# They show what the layer before them showed, or a rim around it.
_NOTHING_NEW = (
    keras.layers.Dropout,
    keras.layers.SpatialDropout2D,
    keras.layers.Identity,
    keras.layers.ZeroPadding2D,
    keras.layers.Cropping2D,
)

Maps = npt.NDArray[np.float32]
"""(samples, height, width, channels)"""


@dataclass(frozen=True)
class FeatureMaps:
    """The most active channels of one layer."""

    height: str
    """low, middle or high"""
    layer: str
    kind: str
    shape: str
    silent: int
    """Channels that are 0 everywhere in these pictures."""
    channels: int
    picture: Picture


def show_feature_maps(
    network: Trace, samples: Sequence[Sample], labels: Sequence[str], preprocessing: Preprocessing
) -> list[FeatureMaps]:
    """Return a low, a middle and a high layer; fewer where the network has fewer, none without a convolution.

    Args:
        network: with one input.
        samples: what is sent through it.
        labels: what stands for each class in a picture.
        preprocessing: of the samples.
    """
    chosen = choose_layers(network.steps)
    if not samples or not chosen:
        return []
    rows = preprocessing.apply(np.stack([sample.pixels for sample in samples]))
    activations = compute(network, list(chosen.values()), rows)
    return [
        _show(height, step, _channels_last(step, values), samples, labels, preprocessing)
        for (height, step), values in zip(chosen.items(), activations, strict=True)
    ]


def choose_layers(steps: Sequence[Step]) -> dict[str, Step]:
    """Return the first convolution, the last layer with space, and one half way between them."""
    first = next((place for place, step in enumerate(steps) if isinstance(step.layer, _CONVOLUTIONS)), len(steps))
    spatial = [step for step in steps[first:] if _has_space(step) and not isinstance(step.layer, _NOTHING_NEW)]
    places = {"low": 0, "middle": len(spatial) // 2, "high": len(spatial) - 1}
    chosen: dict[str, Step] = {}
    for height, place in places.items():
        if spatial and spatial[place] not in chosen.values():
            chosen[height] = spatial[place]
    return chosen


def _has_space(step: Step) -> bool:
    shape = step.tensor.shape
    if len(shape) != 4 or None in shape[1:]:
        return False
    return bool(np.prod(shape[2:] if _is_channels_first(step) else shape[1:3]) > 1)


def _is_channels_first(step: Step) -> bool:
    return getattr(step.layer, "data_format", None) == "channels_first"


def _channels_last(step: Step, values: npt.NDArray[Any]) -> Maps:
    return np.moveaxis(values, 1, -1) if _is_channels_first(step) else values


def _show(
    height: str,
    step: Step,
    maps: Maps,
    samples: Sequence[Sample],
    labels: Sequence[str],
    preprocessing: Preprocessing,
) -> FeatureMaps:
    activity = np.abs(maps).mean(axis=(0, 1, 2))
    channels = np.argsort(-activity, kind="stable")[:_CHANNELS_SHOWN]
    figure = make_figure(1.05 * (len(channels) + 1), 1.1 * len(samples) + 0.25)
    grid: Any = figure.subplots(len(samples), len(channels) + 1, squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
    for line, sample in zip(grid, samples, strict=True):
        line[0].imshow(np.asarray(preprocessing.as_picture(sample.pixels)), cmap="gray", vmin=0, vmax=255)
        line[0].set_ylabel(labels[sample.label], parse_math=False, fontsize=8)
    for column, channel in enumerate(channels.tolist(), 1):
        # One scale for a channel: where it answers more, its picture is brighter.
        low, high = float(maps[..., channel].min()), float(maps[..., channel].max())
        grid[0][column].set_title(f"channel {channel}", fontsize=8, pad=3)
        for line, values in zip(grid, maps, strict=True):
            line[column].imshow(values[..., channel], cmap="viridis", vmin=low, vmax=high, interpolation="nearest")
    alt = f"{len(channels)} channels of a {height} layer for {len(samples)} pictures, a picture in each row."
    return FeatureMaps(
        height,
        step.name,
        step.kind,
        "x".join(map(str, step.tensor.shape[1:])),
        int((activity == 0).sum()),
        maps.shape[-1],
        from_figure(f"features-{height}.png", figure, alt),
    )
