"""The elements of a tensor in JSON, and as bytes."""

import math
import struct
from itertools import chain
from typing import Any

import numpy as np

from strata_server.datatypes import DTYPES
from strata_server.errors import InvalidArgument, quote
from strata_server.tensors import check_shape

BINARY_ONLY = ("FP16", "BF16")
"""JSON has no numbers of these types; Triton does not take them in JSON either."""

_KINDS: dict[str, tuple[set[type], str]] = {"b": ({bool}, "true and false"), "f": ({int, float}, "numbers")}
_LENGTH = struct.Struct("<I")  # before each element of BYTES


def pack(name: str, datatype: str, shape: list[int], data: Any) -> bytes:
    """Return the bytes of elements that came in JSON: row-major and little-endian.

    Args:
        name: of the tensor.
        datatype: in the protocol's word.
        shape: of the tensor.
        data: a list of all elements, or lists of lists as the shape has them.

    Raises:
        InvalidArgument: a shape that cannot be, another number of elements, or one that is none of the type.
    """
    if datatype in BINARY_ONLY:
        raise InvalidArgument(f"{quote(name)}: {datatype} travels as binary data only, with binary_data_size")
    check_shape(name, tuple(shape))
    elements = _flatten(name, shape, data)
    count = math.prod(shape)
    if len(elements) != count:
        raise InvalidArgument(f"{quote(name)}: expected {count} elements for {shape}, received {len(elements)}")
    if datatype == "BYTES":
        _check_types(name, elements, {str}, "strings")
        return b"".join(_with_length(element.encode()) for element in elements)
    dtype = DTYPES.get(datatype)
    if dtype is None:
        known = ", ".join(DTYPES)
        raise InvalidArgument(f"{quote(name)}: expected a datatype of {known}; received {quote(datatype)}")
    return _pack_numbers(name, datatype, dtype, elements)


def unpack(name: str, datatype: str, raw: bytes) -> Any:
    """Return the elements of an output for JSON, flat.

    Raises:
        InvalidArgument: JSON has no form for one of them.
    """
    if datatype in BINARY_ONLY:
        raise InvalidArgument(_want_binary(name, datatype))
    if datatype == "BYTES":
        try:
            return [element.decode() for element in split(raw)]
        except UnicodeDecodeError as error:
            raise InvalidArgument(_want_binary(name, "what is not UTF-8")) from error
    array = np.frombuffer(raw, DTYPES[datatype])
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InvalidArgument(_want_binary(name, "NaN or infinity"))
    return array


def encode(datatype: str, elements: list[Any]) -> bytes:
    """Return the bytes of elements that are of their type."""
    if datatype == "BYTES":
        return b"".join(map(_with_length, elements))
    return np.array(elements, DTYPES[datatype]).tobytes()


def split(raw: bytes) -> list[bytes]:
    """Return the elements of a BYTES tensor, each of which has its length before it."""
    elements, place = [], 0
    while place < len(raw):
        (length,) = _LENGTH.unpack_from(raw, place)
        place += _LENGTH.size
        elements.append(raw[place : place + length])
        place += length
    return elements


def _want_binary(name: str, what: str) -> str:
    return f"the output {quote(name)} holds {what}, which JSON has not; ask for it with binary_data: true"


def _flatten(name: str, shape: list[int], data: Any) -> list[Any]:
    """Return a list of elements, of lists nested as the shape says or flat."""
    if not isinstance(data, list):
        raise InvalidArgument(f"{quote(name)}: expected data to be a list, received {_name_type(data)}")
    elements, nesting = data, [len(data)]
    while elements and isinstance(elements[0], list):
        length = len(elements[0])
        nesting.append(length)
        if len(nesting) > len(shape) or any(not isinstance(row, list) or len(row) != length for row in elements):
            raise InvalidArgument(f"{quote(name)}: expected data that is flat or nested as {shape}, received another")
        elements = list(chain.from_iterable(elements))
    if len(nesting) > 1 and nesting != shape:
        raise InvalidArgument(f"{quote(name)}: expected data that is flat or nested as {shape}, received {nesting}")
    return elements


def _pack_numbers(name: str, datatype: str, dtype: "np.dtype[np.generic]", elements: list[Any]) -> bytes:
    kinds, words = _KINDS.get(dtype.kind, ({int}, "whole numbers"))
    _check_types(name, elements, kinds, words)
    try:
        with np.errstate(over="ignore"):  # it is looked for below
            array = np.array(elements, dtype)
    except OverflowError as error:
        raise InvalidArgument(_misfit(name, datatype)) from error
    if dtype.kind == "f" and not np.isfinite(array).all():
        raise InvalidArgument(_misfit(name, datatype))
    return array.astype(dtype.newbyteorder("<"), copy=False).tobytes()


def _misfit(name: str, datatype: str) -> str:
    return f"{quote(name)}: expected values of {datatype}, received one that does not fit"


def _check_types(name: str, elements: list[Any], known: set[type], words: str) -> None:
    strange = set(map(type, elements)) - known
    if strange:
        received = ", ".join(sorted(map(_name_kind, strange)))
        raise InvalidArgument(f"{quote(name)}: expected data of {words}, received {received} among them")


def _name_type(value: Any) -> str:
    return _name_kind(type(value))


def _name_kind(kind: type) -> str:
    """Return JSON's word for a type."""
    words = {bool: "a boolean", dict: "an object", float: "a number", int: "a number", list: "a list", str: "a string"}
    return words.get(kind, "null")


def _with_length(element: bytes) -> bytes:
    return _LENGTH.pack(len(element)) + element
