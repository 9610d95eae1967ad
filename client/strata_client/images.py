"""Pictures as they travel: PNG or JPEG files, which the server decodes."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeGuard

from strata_client.errors import InvalidArgument
from strata_client.files import read_limited

if TYPE_CHECKING:
    from PIL.Image import Image

Picture: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | Image"
"""A path, the bytes of a file, or a PIL image."""


def encode(picture: Picture, max_bytes: int) -> bytes:
    """Return a picture as a file.

    Raises:
        InvalidArgument: a PIL image has a mode that PNG does not know.
        ResourceExhausted: a file is larger than `max_bytes`.
        OSError: a file cannot be read.
    """
    if isinstance(picture, str | os.PathLike):
        return read_limited(Path(picture), max_bytes)
    if isinstance(picture, bytes | bytearray | memoryview):
        return bytes(picture)
    return _compress(picture)


def is_picture(value: object) -> TypeGuard[Picture]:
    """Say whether a value is one picture."""
    return isinstance(value, str | os.PathLike | bytes | bytearray | memoryview) or _is_image(value)


def _is_image(value: object) -> TypeGuard[Image]:
    # Who holds a PIL image has imported PIL: the base install need not.
    pil = sys.modules.get("PIL.Image")
    return pil is not None and isinstance(value, pil.Image)


def _compress(image: Image) -> bytes:
    file = io.BytesIO()
    try:
        # Fast rather than small: it saves a second per photograph, and no pixel changes.
        image.save(file, "PNG", compress_level=1)
    except OSError as error:
        raise InvalidArgument(
            f"a PIL image of mode {image.mode} cannot be sent: convert it to L or RGB first"
        ) from error
    return file.getvalue()
