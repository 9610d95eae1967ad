"""Arrays from the bytes of a stranger."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from strata_server.errors import InvalidArgument, quote

Array = npt.NDArray[np.generic]

_MOST_DIMENSIONS = 16
_LARGEST_DIMENSION = 2**31 - 1


def read_tensor(name: str, dtype: np.dtype[np.generic], shape: tuple[int, ...], data: bytes) -> Array:
    """Return the array that `data` holds: row-major, little-endian, exactly as long as shape and type say.

    Raises:
        InvalidArgument: a dimension below 1, too many of them, another number of bytes, or a boolean that is
            neither 0 nor 1.
    """
    _check_shape(name, shape)
    expected = math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        raise InvalidArgument(
            f"{quote(name)}: expected {expected} bytes for {describe(shape, dtype)}, received {len(data)}"
        )
    if dtype == np.bool_ and np.frombuffer(data, np.uint8).max() > 1:
        raise InvalidArgument(f"{quote(name)}: expected each boolean to be a byte 0 or 1, received another byte")
    return np.frombuffer(data, dtype.newbyteorder("<")).reshape(shape)


def read_elements(name: str, dtype: np.dtype[np.generic], shape: tuple[int, ...], elements: Sequence[object]) -> Array:
    """Return the array of elements that came one by one.

    Raises:
        InvalidArgument: another number of them than the shape has, or a value that the type cannot hold.
    """
    _check_shape(name, shape)
    if len(elements) != math.prod(shape):
        expected = f"{math.prod(shape)} elements for {describe(shape, dtype)}"
        raise InvalidArgument(f"{quote(name)}: expected {expected}, received {len(elements)}")
    try:
        return np.array(elements, dtype).reshape(shape)
    except OverflowError as error:
        raise InvalidArgument(
            f"{quote(name)}: expected values of {dtype.name}, received one that does not fit"
        ) from error


def write_tensor(array: Array) -> bytes:
    """Return the elements of an array: row-major and little-endian."""
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def describe(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> str:
    """Return shape and type as they stand in messages, such as `(-1, 28, 28, 1) float32`."""
    return f"{shape} {dtype.name}"


def _check_shape(name: str, shape: tuple[int, ...]) -> None:
    if len(shape) > _MOST_DIMENSIONS:
        raise InvalidArgument(f"{quote(name)}: expected at most {_MOST_DIMENSIONS} dimensions, received {len(shape)}")
    if any(not 1 <= size <= _LARGEST_DIMENSION for size in shape):
        raise InvalidArgument(
            f"{quote(name)}: expected each dimension to be from 1 to {_LARGEST_DIMENSION}, received shape {shape}"
        )
