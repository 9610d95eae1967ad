"""Pictures, and how they become an input."""

import enum
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from strata_server.deadline import Deadline
from strata_server.errors import InvalidArgument, OverLimit

# Few formats, because each decoder is a door.
FORMATS = ("PNG", "JPEG")

# Pillow's own limit warns first and counts differently; preprocess_images checks ours, before anything is decoded.
Image.MAX_IMAGE_PIXELS = None


class Color(enum.Enum):
    """The channels of a picture, in their order."""

    GRAYSCALE = "L"
    RGB = "RGB"
    BGR = "BGR"
    """RGB, the last channel first."""

    @property
    def mode(self) -> str:
        """Pillow's mode that has these channels; it keeps no picture as BGR."""
        return "RGB" if self is Color.BGR else self.value


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


@dataclass(frozen=True)
class Pictures:
    """Encoded pictures for a model that takes one: a row each."""

    encoded: list[bytes]


def preprocess_images(
    encoded: Sequence[bytes], rule: Preprocessing, max_pixels: int, deadline: Deadline
) -> npt.NDArray[np.float32]:
    """Return pictures as the input's value: (rows, height, width, channels).

    Raises:
        InvalidArgument: one that is not a PNG or JPEG file, or a damaged one; it says which.
        OverLimit: more pixels in all of them together than are decoded here.
        DeadlinePassed: nobody waits any more.
    """
    images = [_open_image(number, data) for number, data in enumerate(encoded)]
    pixels = sum(image.width * image.height for image in images)
    if pixels > max_pixels:
        largest = max(images, key=lambda image: image.width * image.height)
        raise OverLimit(
            f"expected at most {max_pixels} pixels in a request, received {pixels} in {len(images)} pictures, "
            f"the largest {largest.width} x {largest.height}"
        )
    rows = []
    for number, image in enumerate(images):
        deadline.check()
        rows.append(_preprocess(number, image, rule))
    return np.stack(rows)


def _open_image(number: int, encoded: bytes) -> Image.Image:
    """Return a picture of which only the header is read."""
    try:
        return Image.open(io.BytesIO(encoded), formats=FORMATS)
    except Exception as error:  # decoders raise whatever they like on hostile bytes
        raise InvalidArgument(
            f"picture {number}: expected a PNG or JPEG file, received {len(encoded)} bytes that are neither"
        ) from error


def _preprocess(number: int, image: Image.Image, rule: Preprocessing) -> npt.NDArray[np.float32]:
    """Return one picture as a row of the input: (height, width, channels)."""
    height, width = rule.size
    try:
        with image:
            converted = _convert(image, rule.color)
        if converted.size != (width, height):
            converted = converted.resize((width, height), rule.resampling.value)
    except Exception as error:  # as above
        raise InvalidArgument(
            f"picture {number}: expected a whole {image.format} file, received a damaged one"
        ) from error
    channels = np.asarray(converted).reshape(height, width, -1)
    if rule.color is Color.BGR:
        channels = channels[..., ::-1]
    pixels = channels * np.float32(rule.scale)
    if rule.means:
        pixels -= np.asarray(rule.means, np.float32)
    if rule.deviations:
        pixels /= np.asarray(rule.deviations, np.float32)
    return pixels


def _convert(image: Image.Image, color: Color) -> Image.Image:
    if image.mode.startswith("I"):
        # Pillow clips 16 bits at 255; a picture means its upper 8.
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert(color.mode)
