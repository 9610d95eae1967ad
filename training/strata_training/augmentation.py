"""More pictures to learn from, made of those there are."""

import math
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
import numpy.typing as npt

from strata_training.errors import Unsupported, unknown
from strata_training.functional import as_functional, calls

Images = npt.NDArray[np.uint8]
_DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0))

# What moves in at a border: the border's own color. Keras's default, the picture's reflection, would put a second
# part of a digit there.
_FILL = "nearest"
# The pixels are preprocessed, so nothing here knows their range, and Keras must not clip them to one.
_UNBOUNDED = (-3e38, 3e38)


def _make_contrast(share: float, name: str) -> keras.layers.Layer:
    return keras.layers.RandomContrast(share, value_range=_UNBOUNDED, name=name)


# Each takes the share behind its name. There is no brightness: how much of it a share is depends on the range.
_MAKERS: Mapping[str, Callable[[float, str], keras.layers.Layer]] = {
    "rotate": lambda share, name: keras.layers.RandomRotation(share, fill_mode=_FILL, name=name),
    "zoom": lambda share, name: keras.layers.RandomZoom(share, fill_mode=_FILL, name=name),
    "shift": lambda share, name: keras.layers.RandomTranslation(share, share, fill_mode=_FILL, name=name),
    "contrast": _make_contrast,
}
_FLIP = "flip"

# What they share is that they change nothing but what is learned from. RandomCrop is none: it also crops in inference.
_LAYERS = tuple(
    kind
    for name, kind in vars(keras.layers).items()
    if name in {"AugMix", "CutMix", "MixUp", "RandAugment"} or (name.startswith("Random") and name != "RandomCrop")
)


def make_layers(specs: Sequence[str]) -> list[keras.layers.Layer]:
    """Return layers that change pictures at random while a network learns from them.

    Args:
        specs: `flip` for left and right exchanged, or a kind and a share: `rotate:0.05` of a full turn, `zoom:0.1` and
            `shift:0.1` of the picture's height and width, `contrast:0.2`; each is the most, in both directions.

    Raises:
        NotFound: a kind that there is not.
        Unsupported: a share that is missing, not one, or too many.
    """
    return [_make_layer(spec, f"augment{number}") for number, spec in enumerate(specs, 1)]


def _make_layer(spec: str, prefix: str) -> keras.layers.Layer:
    kind, colon, text = spec.partition(":")
    name = f"{prefix}_{kind}"
    if kind == _FLIP:
        if colon:
            raise Unsupported(f"augmentation {spec!r}: expected {_FLIP!r} alone, which takes no number")
        return keras.layers.RandomFlip("horizontal", name=name)
    if kind not in _MAKERS:
        raise unknown("augmentation", kind, [_FLIP, *_MAKERS])
    return _MAKERS[kind](_read_share(spec, text), name)


def _read_share(spec: str, text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 < share < 1:
        raise Unsupported(f"augmentation {spec!r}: expected a number between 0 and 1 behind a colon, received {text!r}")
    return share


def is_augmentation(layer: keras.Operation) -> bool:
    """Say whether a layer gives in inference what it takes: Keras's random ones, and what is made of them alone."""
    if isinstance(layer, keras.layers.Pipeline):
        return _are_augmentation(layer.layers)
    functional = as_functional(layer) if isinstance(layer, keras.Model) else None
    if functional is not None:
        return len(functional.inputs) == 1 and _are_augmentation([call.layer for call in calls(functional)])
    # A class that is derived from one of them may do as it likes.
    return type(layer) in _LAYERS


def _are_augmentation(layers: Sequence[keras.Operation]) -> bool:
    return bool(layers) and all(map(is_augmentation, layers))


def add_shifted(images: Images, labels: npt.NDArray[np.int64], pixels: int) -> tuple[Images, npt.NDArray[np.int64]]:
    """Return the pictures, then each again moved right, left, down and up; what moves in is zero.

    1,797 digits are few: without the moved ones 0.98 is missed for some seeds, with them for none that was tried.
    """
    if not pixels:
        return images, labels
    moved = [_shift(images, pixels * down, pixels * right) for down, right in _DIRECTIONS]
    return np.concatenate([images, *moved]), np.tile(labels, 1 + len(moved))


def _shift(images: Images, down: int, right: int) -> Images:
    margin = max(abs(down), abs(right))
    padded = np.pad(images, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    top, left = margin - down, margin - right
    height, width = images.shape[1:3]
    return padded[:, top : top + height, left : left + width]
