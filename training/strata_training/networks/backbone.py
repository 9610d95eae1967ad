"""The networks of keras.applications, with a new head."""

import functools
import re
import sys
import textwrap
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers
from keras.src.utils.naming import reset_uids  # Keras has no public word for it

from strata_training.errors import NotFound, Unreadable, Unsupported
from strata_training.networks.network import INPUT, Network, Tolerance

_LONGEST_REASON = 200

# Where Keras names no size, as for MobileNetV3, its documentation says this one.
_USUAL_SIZE = 224
_IMAGENET_MEANS = (0.485, 0.456, 0.406)
_IMAGENET_DEVIATIONS = (0.229, 0.224, 0.225)
_CAFFE_MEANS = (103.939, 116.779, 123.68)

# float32 sums over up to hundreds of layers. Each normalization set as training sets it, eleven of them, from
# MobileNetV3 to NASNetMobile, differed by at most 1.5e-5 of a layer's largest magnitude (EfficientNetV2B0), most by
# less than 5e-6; learned weights can be a few times worse.
TOLERANCE = Tolerance(absolute=1e-6, relative=1e-4)


@dataclass(frozen=True)
class BackboneOptions:
    """What is chosen of a backbone and its head."""

    weights: str = "none"
    """`none`, `imagenet`, which Keras downloads, or the path of a file with those of the network without its top."""
    dropout: float = 0.2
    """Share of the features that is left out at random while it learns."""
    output: str = "softmax"


@dataclass(frozen=True)
class _Preprocessing:
    """What a backbone wants of its pixels; see `Network`."""

    color: str = "COLOR_RGB"
    scale: float = 1.0
    means: tuple[float, ...] = ()
    deviations: tuple[float, ...] = ()

    def apply(self, pixels: Any) -> Any:
        """Return RGB pixels of 0..255 as the backbone takes them, in float64."""
        pixels = pixels[..., ::-1] if self.color == "COLOR_BGR" else pixels
        return (pixels * self.scale - np.array(self.means or (0,))) / np.array(self.deviations or (1,))


_KINDS = (
    _Preprocessing(),  # the network rescales by itself
    _Preprocessing(scale=1 / 127.5, means=(1.0, 1.0, 1.0)),
    _Preprocessing(scale=1 / 255, means=_IMAGENET_MEANS, deviations=_IMAGENET_DEVIATIONS),
    _Preprocessing("COLOR_BGR", means=_CAFFE_MEANS),
)


@functools.cache
def backbones() -> Mapping[str, Callable[..., keras.Model]]:
    """Return what builds each, by its lower-case name."""
    found = vars(keras.applications).items()
    return {name.lower(): build for name, build in sorted(found) if _is_backbone(build)}


def _is_backbone(item: Any) -> bool:
    return callable(item) and "include_top" in signature(item).parameters


def describe_backbone(name: str) -> Network:
    """Return the backbone of a name that is among `backbones`.

    Raises:
        Unsupported: this release of Keras preprocesses its pixels in a way that is unknown here.
    """
    application = backbones()[name]
    rule = _find_preprocessing(application)
    return Network(
        name,
        f"{application.__name__} of keras.applications, with a new head",
        BackboneOptions,
        functools.partial(_build, application),
        TOLERANCE,
        image_size=_find_size(application),
        color=rule.color,
        scale=rule.scale,
        means=rule.means,
        deviations=rule.deviations,
    )


def _find_size(application: Callable[..., keras.Model]) -> tuple[int, int]:
    """Return the height and width of the pictures that a backbone was made for.

    Keras tells it to whoever wants the ImageNet weights for another size; nothing is built or downloaded before that.
    """
    try:
        application(include_top=True, weights="imagenet", input_shape=(1, 1, 3))
    except ValueError as error:
        said = re.search(r"should be \((\d+), (\d+), 3\)", str(error))
        return (int(said[1]), int(said[2])) if said else (_USUAL_SIZE, _USUAL_SIZE)
    raise Unsupported(f"{application.__name__} takes a picture of one pixel: this release of Keras is unknown here")


def _find_preprocessing(application: Callable[..., keras.Model]) -> _Preprocessing:
    """Return the one that does what Keras's own function for the backbone does."""
    pixels = np.array([0, 1, 77, 128, 200, 255], np.float64).reshape(1, 1, 2, 3)
    expected = sys.modules[application.__module__].preprocess_input(pixels.copy())
    for kind in _KINDS:
        if np.allclose(kind.apply(pixels), expected, rtol=0, atol=1e-6):
            return kind
    raise Unsupported(f"{application.__name__}: this release of Keras preprocesses its pixels in an unknown way")


def _build(
    application: Callable[..., keras.Model],
    shape: tuple[int, ...],
    classes: int,
    options: BackboneOptions,
    augmentation: Sequence[layers.Layer] = (),
) -> keras.Model:
    """Build a backbone in one flat model, so that each layer keeps its Keras name.

    Raises:
        Unsupported: the pictures are too small, or not of three channels.
        NotFound: there is no file of weights at the path.
        Unreadable: the weights cannot be had, or are not those of the backbone.
    """
    name = application.__name__.lower()
    if len(shape) != 3 or shape[-1] != 3:
        raise Unsupported(f"the network {name!r} takes pictures of three channels, received examples of shape {shape}")
    _check_weights(options.weights)
    entry = changed = keras.Input(shape, name=INPUT)
    for layer in augmentation:
        changed = layer(changed)
    features = _build_body(application, shape, changed, options.weights)
    value = layers.GlobalAveragePooling2D(name="avg_pool")(features)
    value = layers.Dropout(options.dropout, name="dropout")(value)
    return keras.Model(entry, layers.Dense(classes, options.output, name="predictions")(value), name=name)


def _check_weights(weights: str) -> None:
    if weights not in {"none", "imagenet"} and not Path(weights).is_file():
        raise NotFound(f"no file of weights at {weights}: expected none, imagenet or a file's path")


def _build_body(
    application: Callable[..., keras.Model], shape: tuple[int, ...], entry: keras.KerasTensor, weights: str
) -> keras.KerasTensor:
    """Return the features that a backbone computes from a tensor."""
    # Keras counts its unnamed layers over the whole process: conv2d_94 of a second network is conv2d of the first.
    reset_uids()
    downloaded = "imagenet" if weights == "imagenet" else None
    try:
        with warnings.catch_warnings():
            # MobileNet remarks that its weights are those of 224 x 224 pictures; they are the same for all sizes.
            warnings.simplefilter("ignore", UserWarning)
            model = application(include_top=False, weights=downloaded, input_tensor=entry, input_shape=shape)
    except ValueError as error:
        raise Unsupported(f"{application.__name__} cannot be built for {shape}: {_shorten(error)}") from error
    except Exception as error:  # Keras raises a bare Exception where a download fails
        raise Unreadable(f"the ImageNet weights of {application.__name__} cannot be had: {_shorten(error)}") from error
    if weights not in {"none", "imagenet"}:
        # Without the augmentation, of which the file knows nothing.
        _load(keras.Model(entry, model.output), application.__name__, weights)
    return model.output


def _load(body: keras.Model, name: str, path: str) -> None:
    try:
        body.load_weights(path)
    except Exception as error:  # a damaged or foreign file can make Keras and h5py raise anything
        raise Unreadable(f"{path} does not hold the weights of {name} without its top: {_shorten(error)}") from error


def _shorten(error: Exception) -> str:
    return textwrap.shorten(str(error), _LONGEST_REASON, placeholder=" …")
