"""What happens to a picture before it enters: the same in training and, through the manifest, in serving."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from strata.v1 import catalog_pb2


@dataclass(frozen=True)
class Preprocessing:
    """For each channel (pixel * scale - mean) / deviation, where a pixel is 0..255."""

    input: str
    """The input that takes the picture."""
    color: str
    """The name of a strata.v1.Color."""
    resampling: str = "RESAMPLING_BILINEAR"
    """The name of a strata.v1.Resampling: how a picture of another size is resized."""
    scale: float = 1 / 255
    means: tuple[float, ...] = ()
    """One for each channel; empty means 0."""
    deviations: tuple[float, ...] = ()
    """One for each channel; empty means 1."""

    def apply(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return pictures of the right size and color as rows of the input: (rows, height, width, channels)."""
        rows: npt.NDArray[np.float32] = self.normalize(images.astype(np.float32))
        return rows

    def normalize(self, pixels: Any) -> Any:
        """Return float32 pixels, an array or a tensor, as rows of the input."""
        pixels = pixels * np.float32(self.scale)
        if self.means:
            pixels = pixels - np.asarray(self.means, np.float32)
        if self.deviations:
            pixels = pixels / np.asarray(self.deviations, np.float32)
        return pixels

    def as_picture(self, pixels: npt.NDArray[np.uint8]) -> Image.Image:
        """Return one picture (height, width, channels), of its own color, as people look at it."""
        if self.color == "COLOR_BGR":
            pixels = pixels[..., ::-1]
        # Pillow takes a grayscale picture without the axis of its one channel.
        return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else np.ascontiguousarray(pixels))

    def to_message(self) -> catalog_pb2.Preprocessing:
        """Return it as the manifest holds it."""
        return catalog_pb2.Preprocessing(
            input=self.input,
            color=self.color,
            resampling=self.resampling,
            scale=self.scale,
            means=self.means,
            deviations=self.deviations,
        )
