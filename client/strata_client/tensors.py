"""Arrays as they travel: numpy to `strata.v1.Tensor` and back."""

from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
from strata.v1 import tensor_pb2
from strata.v1.tensor_pb2 import DataType, Tensor

from strata_client import strings
from strata_client.errors import InvalidArgument, ServerError

_DTYPES: dict[int, np.dtype[Any]] = {
    tensor_pb2.DATA_TYPE_BOOL: np.dtype("?"),
    tensor_pb2.DATA_TYPE_UINT8: np.dtype("u1"),
    tensor_pb2.DATA_TYPE_UINT16: np.dtype("<u2"),
    tensor_pb2.DATA_TYPE_UINT32: np.dtype("<u4"),
    tensor_pb2.DATA_TYPE_UINT64: np.dtype("<u8"),
    tensor_pb2.DATA_TYPE_INT8: np.dtype("i1"),
    tensor_pb2.DATA_TYPE_INT16: np.dtype("<i2"),
    tensor_pb2.DATA_TYPE_INT32: np.dtype("<i4"),
    tensor_pb2.DATA_TYPE_INT64: np.dtype("<i8"),
    tensor_pb2.DATA_TYPE_FLOAT16: np.dtype("<f2"),
    tensor_pb2.DATA_TYPE_FLOAT32: np.dtype("<f4"),
    tensor_pb2.DATA_TYPE_FLOAT64: np.dtype("<f8"),
}
# What numpy has no type for, and what it arrives in.
_WIDENED: dict[int, np.dtype[Any]] = {
    tensor_pb2.DATA_TYPE_BFLOAT16: np.dtype("<f4"),
    tensor_pb2.DATA_TYPE_STRING: np.dtype(np.object_),
}
_DATA_TYPES = {dtype: DataType.Name(data_type) for data_type, dtype in _DTYPES.items()}


def write(array: npt.NDArray[Any], name: str = "") -> Tensor:
    """Write an array of any memory layout; an empty name means the model's only input.

    Text is an array of `str`, of fixed or variable width or as objects; bfloat16 that of the package ml_dtypes, if
    the caller has it.

    Raises:
        InvalidArgument: its elements are nothing that travels: other objects, bytes, complex or extended numbers.
    """
    if strings.holds_text(array):
        return Tensor(name=name, data_type="DATA_TYPE_STRING", shape=array.shape, data=strings.write(array))
    if array.dtype.name == "bfloat16":
        data = np.ascontiguousarray(array).view(np.uint16).astype("<u2", copy=False).tobytes()
        return Tensor(name=name, data_type="DATA_TYPE_BFLOAT16", shape=array.shape, data=data)
    # Another byte order is the same number, and is not a conversion that could lose anything.
    dtype = array.dtype.newbyteorder("<")
    if dtype not in _DATA_TYPES:
        expected = ", ".join([*(known.name for known in _DATA_TYPES), "bfloat16", "str"])
        raise InvalidArgument(f"an array of this type cannot be sent: expected {expected}; received {array.dtype}")
    data = array.astype(dtype, copy=False).tobytes()
    return Tensor(name=name, data_type=_DATA_TYPES[dtype], shape=array.shape, data=data)


def read(tensor: Tensor) -> npt.NDArray[Any]:
    """Read an array of its own memory, which the caller may write to: bfloat16 as float32, text as `str` objects.

    Raises:
        ServerError: type, shape and bytes do not fit together.
    """
    shape, data = tuple(tensor.shape), tensor.data
    if tensor.data_type == tensor_pb2.DATA_TYPE_STRING:
        return strings.read(tensor.name, shape, data)
    is_half = tensor.data_type == tensor_pb2.DATA_TYPE_BFLOAT16
    dtype = np.dtype("<u2") if is_half else read_dtype(tensor.data_type)
    # In Python's integers, which do not overflow, before numpy sees any of it.
    if min(shape, default=0) < 0 or prod(shape) * dtype.itemsize != len(data):
        raise ServerError(
            f"the server answered {tensor.name!r} with {len(data)} bytes for shape {list(shape)} of {dtype}"
        )
    if is_half:  # the upper half of a float32, whose lower half is 0
        return (np.frombuffer(data, dtype).astype("<u4") << 16).view("<f4").reshape(shape)
    return np.frombuffer(bytearray(data), dtype).reshape(shape)


def read_dtype(data_type: int) -> np.dtype[Any]:
    """Return the type of the arrays that elements of a data type arrive in.

    Raises:
        ServerError: this client does not know it.
    """
    if data_type not in _DTYPES | _WIDENED:
        raise ServerError(f"the server answered with data type {data_type}, which this client does not know")
    return (_DTYPES | _WIDENED)[data_type]


def read_type_name(data_type: DataType) -> str:
    """Return the name of a data type that `read_dtype` knows, such as `float32`, `bfloat16` or `string`."""
    return DataType.Name(data_type).removeprefix("DATA_TYPE_").lower()
