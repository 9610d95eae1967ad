import re
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from strata.v1 import tensor_pb2
from strata.v1.tensor_pb2 import Tensor
from strata_client import InvalidArgument, ServerError, tensors

DTYPES = [
    "bool",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "int8",
    "int16",
    "int32",
    "int64",
    "float16",
    "float32",
    "float64",
]


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_array_of_every_type_comes_back_as_it_went(dtype: str) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    tensor = tensors.write(array, "image")
    assert (tensor.name, list(tensor.shape)) == ("image", [2, 3, 4])
    assert tensor_pb2.DataType.Name(tensor.data_type) == f"DATA_TYPE_{dtype.upper()}"
    back = tensors.read(tensor)
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


def test_every_data_type_of_the_protocol_is_known() -> None:
    known = {f"DATA_TYPE_{dtype.upper()}" for dtype in (*DTYPES, "bfloat16", "string")}
    assert known == set(tensor_pb2.DataType.keys()) - {"DATA_TYPE_UNSPECIFIED"}


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=">f4").reshape(2, 3),
        np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
        np.arange(12, dtype=np.float32).reshape(2, 6)[:, ::2] / 2,
    ],
    ids=["big endian", "column-major", "a view with steps"],
)
def test_any_memory_layout_travels_as_rows_of_little_endian_numbers(array: np.ndarray[Any, Any]) -> None:
    assert tensors.write(array).data == np.ascontiguousarray(array, "<f4").tobytes()


@pytest.mark.parametrize(
    "array",
    [np.array([b"a"]), np.array([None]), np.array(["a", 1], object), np.array([1j]), np.array([1], np.longdouble)],
)
def test_an_array_of_other_things_is_refused_with_what_is_expected(array: np.ndarray[Any, Any]) -> None:
    with pytest.raises(InvalidArgument, match=rf"expected bool, .*str; received {re.escape(str(array.dtype))}"):
        tensors.write(array)


@pytest.mark.parametrize("dtype", ["U3", "object", np.dtypes.StringDType()], ids=["fixed", "objects", "variable"])
def test_text_travels_and_arrives_as_objects(dtype: Any) -> None:
    array = np.array([["a", ""], ["\u00e9\0\U0001f40c", "b"]], dtype)
    tensor = tensors.write(array, "text")
    assert tensor_pb2.DataType.Name(tensor.data_type) == "DATA_TYPE_STRING"
    assert tensor.data[:9] == b"\1\0\0\0a\0\0\0\0"
    back = tensors.read(tensor)
    assert (back.dtype, back.shape, back.tolist()) == (np.dtype(object), (2, 2), array.tolist())


def test_half_of_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="expected Unicode text"):
        tensors.write(np.array(["\ud800"], object))


def test_bfloat16_arrives_as_float32_and_goes_as_its_own_type() -> None:
    array = np.array([[1.5, -0.0, np.nan], [np.inf, 1e-40, 3e38]], ml_dtypes.bfloat16)
    tensor = tensors.write(array[::-1])
    assert tensor_pb2.DataType.Name(tensor.data_type) == "DATA_TYPE_BFLOAT16"
    back = tensors.read(tensor)
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back, array[::-1].astype(np.float32))
    back += 1


@pytest.mark.parametrize(
    ("shape", "data", "problem"),
    [
        ([2], b"\1\0\0\0a", "5 bytes for shape"),
        ([1], b"\1\0\0\0a\0\0\0\0", "2 strings for shape"),
        ([1], b"\2\0\0\0a", "strings that are none"),
        ([1], b"\1\0\0\0a\0", "strings that are none"),
        ([1], b"\1\0\0\0\xff", "strings that are none"),
        ([-1], b"\1\0\0\0a", "5 bytes for shape"),
        ([2**62, 4], b"\0" * 8, "8 bytes for shape"),
    ],
)
def test_strings_that_do_not_fit_the_shape_are_a_server_error(shape: list[int], data: bytes, problem: str) -> None:
    with pytest.raises(ServerError, match=problem):
        tensors.read(Tensor(name="text", data_type="DATA_TYPE_STRING", shape=shape, data=data))


def test_nan_and_infinities_travel() -> None:
    array = np.array([[np.nan, np.inf, -np.inf]], np.float32)
    np.testing.assert_array_equal(tensors.read(tensors.write(array)), array)


def test_what_is_read_may_be_written_to() -> None:
    back = tensors.read(tensors.write(np.zeros((1, 2), np.float32)))
    back += 1
    assert back.tolist() == [[1, 1]]


@pytest.mark.parametrize(
    ("shape", "data"),
    [
        ([2, 2], b"\0" * 12),
        ([2, 2], b"\0" * 17),
        ([-1, -4], b"\0" * 16),
        ([2**62, 4], b""),  # times 4 bytes it is 0 in 64 bits
        ([0, 2**40], b"\0" * 4),
    ],
)
def test_bytes_that_do_not_fit_the_shape_are_a_server_error(shape: list[int], data: bytes) -> None:
    tensor = Tensor(name="conv1", data_type="DATA_TYPE_FLOAT32", shape=shape, data=data)
    with pytest.raises(ServerError, match=rf"'conv1' with {len(data)} bytes"):
        tensors.read(tensor)


@pytest.mark.parametrize("data_type", [0, 99])
def test_a_data_type_from_the_future_is_a_server_error(data_type: int) -> None:
    tensor = Tensor.FromString(bytes([0x10, data_type]))
    with pytest.raises(ServerError, match=f"data type {data_type}"):
        tensors.read(tensor)
