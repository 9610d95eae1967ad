"""The form of a picture: its size and color, the same in training as in serving."""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from strata_training.data.memory import require_memory
from strata_training.data.wanted import Wanted

Pixels = npt.NDArray[np.uint8]

COLORS = {"COLOR_GRAYSCALE": "L", "COLOR_RGB": "RGB", "COLOR_BGR": "RGB"}
"""Pillow's mode for each strata.v1.Color; blue first is turned around afterwards."""


@dataclass(frozen=True)
class Form:
    """What every picture of a data set is brought into."""

    height: int
    width: int
    color: str
    """A key of COLORS."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        return self.height, self.width, len(COLORS[self.color])

    def apply(self, image: Image.Image) -> Pixels:
        """Return a picture as (height, width, channels).

        Step by step what strata_server.images does, so that a network meets in service what it learned from; a test
        compares the two.
        """
        if image.mode.startswith("I"):
            # Pillow clips 16 bits at 255; a picture means its upper 8.
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        converted = image.convert(COLORS[self.color])
        if converted.size != (self.width, self.height):
            converted = converted.resize((self.width, self.height), Image.Resampling.BILINEAR)
        pixels = np.asarray(converted).reshape(self.shape)
        return pixels[..., ::-1] if self.color == "COLOR_BGR" else pixels

    def fill(self, rows: int, read: Callable[[int], Pixels]) -> Pixels:
        """Return so many pictures of this form, (rows, height, width, channels), each read in one of several threads.

        Raises:
            TrainingError: they need more memory than there is for them.
        """
        shape = (rows, *self.shape)
        require_memory(math.prod(shape), f"{rows:,} pictures of {self.height} x {self.width}")
        pictures = np.empty(shape, np.uint8)

        def place(row: int) -> None:
            pictures[row] = read(row)

        # Pillow lets other threads run while it decodes, converts and resizes.
        with ThreadPoolExecutor() as pool:
            for _ in pool.map(place, range(rows)):
                pass
        return pictures


def bring(pictures: Pixels, wanted: Wanted) -> Pixels:
    """Return pictures of (rows, height, width, 1 to 4 channels) in the wanted form, without an alpha channel.

    Raises:
        TrainingError: they need more memory than there is for them.
    """
    channels = pictures.shape[-1]
    height, width = wanted.image_size or pictures.shape[1:3]
    form = Form(height, width, wanted.color or ("COLOR_RGB" if channels > 2 else "COLOR_GRAYSCALE"))
    if form.shape == pictures.shape[1:] and form.color != "COLOR_BGR":
        return pictures

    def read(row: int) -> Pixels:
        # Pillow takes a grayscale picture without the axis of its one channel.
        pixels = pictures[row, ..., 0] if channels == 1 else pictures[row]
        return form.apply(Image.fromarray(pixels))

    return form.fill(len(pictures), read)
