"""Arrays from the bytes of a stranger."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from strata_server.elements import BFLOAT16, name_type
from strata_server.errors import InvalidArgument, quote
from strata_server.strings import count_string_bytes, read_strings, read_texts, write_strings

Array = npt.NDArray[np.generic]

_MOST_DIMENSIONS = 16
_LARGEST_DIMENSION = 2**31 - 1


def read_tensor(name: str, dtype: np.dtype[np.generic], shape: tuple[int, ...], data: bytes) -> Array:
    """Return the array that `data` holds: row-major, little-endian, exactly as long as shape and type say.

    Strings are laid out as `read_strings` says.

    Raises:
        InvalidArgument: a dimension below 1, too many of them, another number of bytes, a boolean that is neither 0
            nor 1, or strings that are none.
    """
    check_shape(name, shape)
    if dtype.hasobject:
        return read_strings(name, shape, data)
    expected = math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        raise InvalidArgument(
            f"{quote(name)}: expected {expected} bytes for {describe(shape, dtype)}, received {len(data)}"
        )
    if dtype == np.bool_ and np.frombuffer(data, np.uint8).max() > 1:
        raise InvalidArgument(f"{quote(name)}: expected each boolean to be a byte 0 or 1, received another byte")
    return np.frombuffer(data, dtype.newbyteorder("<")).reshape(shape)


def read_elements(name: str, dtype: np.dtype[np.generic], shape: tuple[int, ...], elements: Sequence[object]) -> Array:
    """Return the array of elements that came one by one; strings as text or as its bytes in UTF-8.

    Raises:
        InvalidArgument: another number of them than the shape has, or a value that the type cannot hold.
    """
    check_shape(name, shape)
    if len(elements) != math.prod(shape):
        expected = f"{math.prod(shape)} elements for {describe(shape, dtype)}"
        raise InvalidArgument(f"{quote(name)}: expected {expected}, received {len(elements)}")
    if dtype.hasobject:
        return read_texts(name, shape, elements)
    try:
        return np.array(elements, dtype).reshape(shape)
    except OverflowError as error:
        raise InvalidArgument(
            f"{quote(name)}: expected values of {name_type(dtype)}, received one that does not fit"
        ) from error


def write_tensor(array: Array) -> bytes:
    """Return the elements of an array: row-major and little-endian, strings each behind its length."""
    if array.dtype.hasobject:
        return write_strings(array)
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def count_bytes(array: Array) -> int:
    """Return how many bytes `write_tensor` makes of an array."""
    return count_string_bytes(array) if array.dtype.hasobject else array.nbytes


def narrow(name: str, array: Array) -> Array:
    """Return float32 values as the bfloat16 values that they are: nothing is rounded.

    Raises:
        InvalidArgument: one of them is none.
    """
    narrowed = array.astype(BFLOAT16)
    if not np.array_equal(narrowed.astype(np.float32), array, equal_nan=True):
        raise InvalidArgument(
            f"{quote(name)}: expected bfloat16, or float32 values each of which bfloat16 holds; received others"
        )
    return narrowed


def describe(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> str:
    """Return shape and type as they stand in messages, such as `(-1, 28, 28, 1) float32`."""
    return f"{shape} {name_type(dtype)}"


def check_shape(name: str, shape: tuple[int, ...]) -> None:
    """Check a stranger's shape, before anything is made of its sizes.

    Raises:
        InvalidArgument: a dimension below 1, or too large, or too many of them.
    """
    if len(shape) > _MOST_DIMENSIONS:
        raise InvalidArgument(f"{quote(name)}: expected at most {_MOST_DIMENSIONS} dimensions, received {len(shape)}")
    if any(not 1 <= size <= _LARGEST_DIMENSION for size in shape):
        raise InvalidArgument(
            f"{quote(name)}: expected each dimension to be from 1 to {_LARGEST_DIMENSION}, received shape {shape}"
        )
