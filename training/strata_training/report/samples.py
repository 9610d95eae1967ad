"""A few held-out pictures, to send through the network."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from strata_training.names import file_names
from strata_training.preprocessing import Preprocessing

_MOST = 4


@dataclass(frozen=True, eq=False)
class Sample:
    """The first held-out picture of a class."""

    label: int
    pixels: npt.NDArray[np.uint8]
    """(height, width, channels), in the color that the network takes."""


def read_samples(
    folder: Path, classes: Sequence[str], preprocessing: Preprocessing, shape: tuple[int, ...]
) -> list[Sample]:
    """Return at most four pictures of a run, of classes far apart; what is no such picture is passed over.

    Args:
        folder: as `fit` writes it.
        classes: the names.
        preprocessing: of the network; it knows the order of the colors.
        shape: of a picture: (height, width, channels).
    """
    paths = [folder / f"{name}.png" for name in file_names(classes)]
    there = [label for label, path in enumerate(paths) if path.is_file()]
    chosen = [there[place] for place in np.linspace(0, len(there) - 1, min(_MOST, len(there))).astype(int)]
    read = [Sample(label, pixels) for label in chosen if (pixels := _read(paths[label], preprocessing)) is not None]
    return [sample for sample in read if sample.pixels.shape == shape]


def _read(path: Path, preprocessing: Preprocessing) -> npt.NDArray[Any] | None:
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image)
    except (OSError, SyntaxError, ValueError):  # what Pillow raises where a file is damaged
        return None
    if pixels.ndim == 2:
        return pixels[..., None]
    return pixels[..., ::-1] if preprocessing.color == "COLOR_BGR" else pixels
