"""Arrays of text as they travel: each string behind the number of its bytes, in UTF-8."""

import math
import struct
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from strata_server.elements import LENGTH_BYTES, STRING
from strata_server.errors import InvalidArgument, quote

# Each becomes an object many times the size of a short string.
_MOST_STRINGS = 2**20

_LENGTH = struct.Struct("<I")

Array = npt.NDArray[np.generic]


def read_strings(name: str, shape: tuple[int, ...], data: bytes) -> Array:
    """Return the strings that `data` holds one behind the other, each behind its length: 4 bytes, little-endian.

    Raises:
        InvalidArgument: more or fewer strings than the shape has, a length beyond the bytes that are there, bytes
            that are no UTF-8, or more strings than one tensor may have.
    """
    _check_count(name, shape)
    least = math.prod(shape) * LENGTH_BYTES
    if len(data) < least:
        raise InvalidArgument(
            f"{quote(name)}: expected at least {least} bytes for {shape} string, received {len(data)}"
        )
    return _decode(name, shape, _divide(name, math.prod(shape), data))


def read_texts(name: str, shape: tuple[int, ...], elements: Iterable[object]) -> Array:
    """Return strings that came one by one, as text or as its bytes, as many as the shape has.

    Raises:
        InvalidArgument: an element that is neither, bytes that are no UTF-8, or more strings than one tensor may have.
    """
    _check_count(name, shape)
    return _decode(name, shape, elements)


def write_strings(array: Array) -> bytes:
    """Return the strings of an array in row-major order, each behind its length."""
    parts: list[bytes] = []
    for text in encode_strings(array):
        parts += (_LENGTH.pack(len(text)), text)
    return b"".join(parts)


def encode_strings(array: Array) -> Iterator[bytes]:
    """Give the strings of an array in row-major order, as bytes."""
    return (text.encode() for text in array.ravel().tolist())


def count_string_bytes(array: Array) -> int:
    """Return how many bytes an array of strings has on the wire."""
    return LENGTH_BYTES * array.size + sum(map(len, encode_strings(array)))


def _check_count(name: str, shape: tuple[int, ...]) -> None:
    count = math.prod(shape)
    if count > _MOST_STRINGS:
        raise InvalidArgument(f"{quote(name)}: expected at most {_MOST_STRINGS} strings, received {count}")


def _divide(name: str, count: int, data: bytes) -> Iterator[bytes]:
    """Give each string's bytes."""
    place, end = 0, len(data)
    for index in range(count):
        start = place + LENGTH_BYTES
        if start > end:
            raise InvalidArgument(f"{quote(name)}: expected {count} strings, received {index} and {end - place} bytes")
        (length,) = _LENGTH.unpack_from(data, place)
        place = start + length
        if place > end:
            raise InvalidArgument(
                f"{quote(name)}: its string {index} claims {length} bytes, but {end - start} are left"
            )
        yield data[start:place]
    if place != end:
        raise InvalidArgument(f"{quote(name)}: expected {count} strings, received {end - place} bytes behind them")


def _decode(name: str, shape: tuple[int, ...], elements: Iterable[object]) -> Array:
    array = np.empty(math.prod(shape), STRING)
    for index, element in enumerate(elements):
        array[index] = _read_text(name, index, element)
    return array.reshape(shape)


def _read_text(name: str, index: int, element: object) -> str:
    try:
        if isinstance(element, str):
            element.encode()  # surrogates are no text
            return element
        if isinstance(element, bytes | memoryview):
            return str(element, "utf-8")
    except UnicodeError as error:
        raise InvalidArgument(
            f"{quote(name)}: its string {index} is no text: expected UTF-8, received other bytes"
        ) from error
    raise InvalidArgument(f"{quote(name)}: expected text, received {type(element).__name__} at {index}")
