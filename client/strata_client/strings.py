"""Text as it travels: each string behind the number of its bytes, in UTF-8."""

import struct
from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from strata_client.errors import InvalidArgument, ServerError

_LENGTH = struct.Struct("<I")

Array = npt.NDArray[Any]


def holds_text(array: Array) -> bool:
    """Say whether an array is one of text, in any of numpy's ways: fixed width, variable width, or objects."""
    return array.dtype.kind in "UT" or (array.dtype.kind == "O" and all(isinstance(one, str) for one in array.flat))


def write(array: Array) -> bytes:
    """Write an array of text in row-major order.

    Raises:
        InvalidArgument: a string that cannot travel, as half of a surrogate pair.
    """
    try:
        encoded = [text.encode() for text in array.ravel().tolist()]
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"expected Unicode text; received {error.object!r}") from error
    return b"".join(part for text in encoded for part in (_LENGTH.pack(len(text)), text))


def read(name: str, shape: tuple[int, ...], data: bytes) -> Array:
    """Read text into an array of `str` objects.

    Raises:
        ServerError: there are more or fewer strings than the shape has, or they are no text.
    """
    # Before anything is made of what a server claims: each string has a length, if nothing else.
    if min(shape, default=0) < 0 or prod(shape) * _LENGTH.size > len(data):
        raise ServerError(f"the server answered {name!r} with {len(data)} bytes for shape {list(shape)} of strings")
    try:
        texts = list(_divide(data))
    except (UnicodeDecodeError, struct.error) as error:
        raise ServerError(f"the server answered {name!r} with strings that are none: {error}") from error
    if len(texts) != prod(shape):
        raise ServerError(f"the server answered {name!r} with {len(texts)} strings for shape {list(shape)}")
    array = np.empty(len(texts), np.object_)
    array[:] = texts
    return array.reshape(shape)


def _divide(data: bytes) -> Iterator[str]:
    place = 0
    while place < len(data):
        (length,) = _LENGTH.unpack_from(data, place)
        place += _LENGTH.size + length
        if place > len(data):
            raise struct.error(f"one claims {length} bytes, which are not there")
        yield data[place - length : place].decode()
