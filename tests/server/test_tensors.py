import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from strata_server.elements import BFLOAT16, STRING
from strata_server.errors import InvalidArgument
from strata_server.tensors import Array, count_bytes, narrow, read_tensor, write_tensor

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
arrays = st.sampled_from(DTYPES).flatmap(
    lambda name: hnp.arrays(np.dtype(name), hnp.array_shapes(min_dims=0, max_dims=5, min_side=1, max_side=4))
)


@given(arrays)
def test_what_is_written_is_read_back_bit_for_bit(array: Array) -> None:
    again = read_tensor("x", array.dtype, array.shape, write_tensor(array))
    assert again.dtype == array.dtype
    np.testing.assert_array_equal(again, array)


@given(arrays)
def test_a_transposed_array_is_written_in_row_major_order(array: Array) -> None:
    assert write_tensor(array.T) == write_tensor(np.ascontiguousarray(array.T))


@given(shape=st.lists(st.integers(-(2**63), 2**63), max_size=20), data=st.binary(max_size=64))
def test_any_shape_is_read_or_refused(shape: list[int], data: bytes) -> None:
    try:
        array = read_tensor("x", np.dtype(np.uint8), tuple(shape), data)
    except InvalidArgument:
        return
    assert array.shape == tuple(shape)
    assert array.tobytes() == data


@given(hnp.arrays(object, hnp.array_shapes(min_dims=0, max_dims=4, max_side=4), elements=st.text()))
def test_text_is_read_back_as_it_was(array: Array) -> None:
    data = write_tensor(array)
    assert len(data) == count_bytes(array)
    again = read_tensor("x", STRING, array.shape, data)
    assert (again.dtype, again.shape, again.tolist()) == (STRING, array.shape, array.tolist())


@given(shape=st.lists(st.integers(1, 3), max_size=3), data=st.binary(max_size=64), cut=st.integers(0, 64))
def test_any_bytes_are_strings_or_refused(shape: list[int], data: bytes, cut: int) -> None:
    whole = write_tensor(np.full(shape, "ab", object))
    for each in (data, whole[:cut] + data):
        try:
            array = read_tensor("x", STRING, tuple(shape), each)
        except InvalidArgument:
            continue
        assert write_tensor(array) == each


@given(hnp.arrays(np.uint16, hnp.array_shapes(max_dims=3, max_side=4)))
def test_every_bfloat16_is_widened_and_narrowed_without_loss(bits: Array) -> None:
    array = bits.view(BFLOAT16)
    again = read_tensor("x", BFLOAT16, array.shape, write_tensor(array))
    assert again.tobytes() == bits.tobytes()
    wide = array.astype(np.float32)
    np.testing.assert_array_equal(narrow("x", wide).astype(np.float32), wide)


def test_what_bfloat16_does_not_hold_is_refused() -> None:
    for value in (0.1, 1 + 2**-8, 1e-45, 3.4e38):
        with pytest.raises(InvalidArgument, match="each of which bfloat16 holds"):
            narrow("x", np.array([value], np.float32))


def test_a_boolean_that_is_neither_0_nor_1_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="a byte 0 or 1"):
        read_tensor("x", np.dtype(np.bool_), (2,), b"\x01\x02")
