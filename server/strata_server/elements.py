"""The types of elements that tensors have: those of numpy, bfloat16, and text."""

import ml_dtypes
import numpy as np

ElementType = np.dtype[np.generic]

BFLOAT16: ElementType = np.dtype(ml_dtypes.bfloat16)
STRING: ElementType = np.dtype(np.object_)
"""Each element is a `str`: ONNX strings are text in UTF-8, and onnxruntime takes and gives them so."""

LENGTH_BYTES = 4
"""What stands before each string on the wire: the number of its bytes."""
# What a string takes at least where it is held: an object of Python, or one of C++ and a pointer to it.
_HELD_STRING_BYTES = 64


def is_float(dtype: ElementType) -> bool:
    """Say whether elements are floating-point numbers, which may be no finite number."""
    return dtype.kind == "f" or dtype == BFLOAT16


def is_ordered(dtype: ElementType) -> bool:
    """Say whether elements are numbers or booleans, one of which is the largest."""
    return dtype.kind in "biuf" or dtype == BFLOAT16


def name_type(dtype: ElementType) -> str:
    """Return the name of a type, such as `float32`, `bfloat16` or `string`."""
    return "string" if dtype == STRING else dtype.name


def wide_type(dtype: ElementType) -> ElementType:
    """Return the type that numpy and onnxruntime compute with in place of a type: float32 for bfloat16, else itself."""
    return np.dtype(np.float32) if dtype == BFLOAT16 else dtype


def held_bytes(dtype: ElementType) -> int:
    """Return the memory that an element takes while it is computed; of a string what it takes at least."""
    return _HELD_STRING_BYTES if dtype == STRING else dtype.itemsize


def sent_bytes(dtype: ElementType) -> int:
    """Return the bytes of an element on the wire; of a string those that it takes at least."""
    return LENGTH_BYTES if dtype == STRING else dtype.itemsize
