"""The protocol's types of elements, and the values of tensors as they travel."""

from typing import Any

from strata_server.datatypes import DTYPES
from strata_server.errors import InvalidArgument, quote
from strata_server.rpc.open_inference import open_inference_pb2 as pb
from strata_server.strings import encode_strings
from strata_server.tensors import Array, read_elements, read_tensor

# Where typed contents hold the elements of each type; the protocol has none for FP16 and BF16.
CONTENTS = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def read_input(tensor: pb.ModelInferRequest.InferInputTensor, raw: bytes | None) -> Array:
    """Return the values of an input, which came in raw bytes or one by one."""
    dtype = DTYPES.get(tensor.datatype)
    if dtype is None:
        known = ", ".join(DTYPES)
        raise InvalidArgument(
            f"{quote(tensor.name)}: expected a datatype of {known}; received {quote(tensor.datatype)}"
        )
    filled = [field.name for field, _ in tensor.contents.ListFields()]
    if raw is not None:
        if filled:
            raise InvalidArgument(f"{quote(tensor.name)}: expected contents or raw_input_contents, received both")
        return read_tensor(tensor.name, dtype, tuple(tensor.shape), raw)
    field = CONTENTS.get(tensor.datatype)
    if field is None:
        raise InvalidArgument(f"{quote(tensor.name)}: {tensor.datatype} travels in raw_input_contents only")
    if set(filled) - {field}:
        raise InvalidArgument(f"{quote(tensor.name)}: expected {field} for {tensor.datatype}, received {filled}")
    return read_elements(tensor.name, dtype, tuple(tensor.shape), getattr(tensor.contents, field))


def write_contents(output: pb.ModelInferResponse.InferOutputTensor, value: Array) -> None:
    """Fill in the elements of an output one by one; its datatype has typed contents."""
    elements: Any = encode_strings(value) if value.dtype.hasobject else value.ravel().tolist()
    getattr(output.contents, CONTENTS[output.datatype]).extend(elements)


def holds_strings(request: pb.ModelInferRequest) -> bool:
    """Say whether strings enter, each of which becomes an object."""
    return any(tensor.datatype == "BYTES" for tensor in request.inputs)
