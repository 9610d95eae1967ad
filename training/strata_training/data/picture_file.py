"""A file that holds a picture, in any format that Pillow reads."""

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from strata_training.data.form import Form, Pixels

MAX_PIXELS = 89_478_485
"""Where Pillow begins to warn of a decompression bomb: 256 MiB as RGB, with a quarter to spare. Its own limit can be
switched off by whoever shares the process."""

_GRAYSCALE_MODES = {"1", "L", "LA", "La", "F"}
_BRIGHTEST = 2**16 - 1


class BadPicture(Exception):
    """The file is no picture that can be learned from; the message is the reason."""


@dataclass(frozen=True)
class Header:
    """What is known of a picture without its pixels."""

    height: int
    width: int
    has_color: bool


def read_header(path: Path) -> Header:
    """Return a picture's size and whether it has color, mostly without decoding it.

    Raises:
        BadPicture: it cannot be read.
    """
    with _opened(path) as image:
        return Header(image.height, image.width, _has_color(image))


def read_pixels(path: Path, form: Form) -> Pixels:
    """Return a picture in that form: (height, width, channels).

    Raises:
        BadPicture: it cannot be read.
    """
    with _opened(path) as image:
        if image.mode == "F":
            raise BadPicture("expected 8 or 16 bits, received floating-point numbers")
        if image.mode == "I":
            values = np.asarray(image)
            if values.min() < 0 or values.max() > _BRIGHTEST:
                raise BadPicture(f"expected 8 or 16 bits, received values from {values.min()} to {values.max()}")
        return form.apply(image)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what Pillow remarks about a file to itself: it is either read or not.

    To be entered before threads are started, as the filters are those of the whole process.
    """
    Image.init()  # loads every decoder, which threads would do at the same time
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        if not path.is_file():  # a pipe would be waited for
            raise BadPicture("no file" if not path.exists() else "expected a file")
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise BadPicture(f"expected at most {MAX_PIXELS:,} pixels, received {image.width * image.height:,}")
            yield image
    except BadPicture:
        raise
    except UnidentifiedImageError as error:
        raise BadPicture("not a picture in a format that can be read") from error
    except Image.DecompressionBombError as error:
        raise BadPicture(f"expected at most {MAX_PIXELS:,} pixels, received more than twice as many") from error
    except Exception as error:  # decoders raise whatever they like on damaged bytes
        raise BadPicture(f"damaged, or cannot be read: {' '.join(str(error).split())}") from error


def _has_color(image: Image.Image) -> bool:
    if image.mode in _GRAYSCALE_MODES or image.mode.startswith("I"):
        return False
    if image.mode not in ("P", "PA"):
        return True
    palette = image.getpalette() or []
    return not palette[0::3] == palette[1::3] == palette[2::3]
