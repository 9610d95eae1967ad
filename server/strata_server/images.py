"""Pictures, and how they become an input."""

import enum
import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from strata_server.errors import InvalidArgument, OverLimit

# Few formats, because each decoder is a door.
FORMATS = ("PNG", "JPEG")

# Pillow's own limit warns first and counts differently; decode_image checks ours, before anything is decoded.
Image.MAX_IMAGE_PIXELS = None


class Color(enum.Enum):
    """The channels of a picture, by Pillow's mode."""

    GRAYSCALE = "L"
    RGB = "RGB"


class Resampling(enum.Enum):
    """How a picture of another size is resized."""

    NEAREST = Image.Resampling.NEAREST
    BILINEAR = Image.Resampling.BILINEAR


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes a row of an input: (pixel * scale - mean) / deviation, channels last."""

    input: str
    size: tuple[int, int]
    """Height and width, in pixels."""
    color: Color
    resampling: Resampling
    scale: float
    means: tuple[float, ...] = ()
    """One for each channel; empty means 0."""
    deviations: tuple[float, ...] = ()
    """One for each channel; empty means 1."""


def preprocess(encoded: bytes, rule: Preprocessing, max_pixels: int) -> npt.NDArray[np.float32]:
    """Return one picture as a row of the input: (height, width, channels).

    Raises:
        InvalidArgument: not a PNG or JPEG file, or a damaged one.
        OverLimit: more pixels than are decoded here.
    """
    image = _convert(decode_image(encoded, max_pixels), rule.color)
    height, width = rule.size
    if image.size != (width, height):
        image = image.resize((width, height), rule.resampling.value)
    pixels = np.asarray(image, np.float32).reshape(height, width, -1) * np.float32(rule.scale)
    if rule.means:
        pixels -= np.asarray(rule.means, np.float32)
    if rule.deviations:
        pixels /= np.asarray(rule.deviations, np.float32)
    return pixels


def decode_image(encoded: bytes, max_pixels: int) -> Image.Image:
    """Return the picture in a PNG or JPEG file: its first frame."""
    try:
        image = Image.open(io.BytesIO(encoded), formats=FORMATS)
    except Exception as error:  # decoders raise whatever they like on hostile bytes
        raise InvalidArgument(
            f"expected a PNG or JPEG file, received {len(encoded)} bytes that are neither"
        ) from error
    width, height = image.size
    if width * height > max_pixels:
        raise OverLimit(f"expected a picture of at most {max_pixels} pixels, received {width} x {height}")
    try:
        image.load()
    except Exception as error:  # as above
        raise InvalidArgument(
            f"expected a whole {image.format} file, received {len(encoded)} bytes that cannot be decoded"
        ) from error
    return image


def _convert(image: Image.Image, color: Color) -> Image.Image:
    if image.mode.startswith("I"):
        # Pillow clips 16 bits at 255; a picture means its upper 8.
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert(color.value)
