"""The data types of strata.v1, by which manifests and messages name the types of elements."""

import numpy as np
from strata.v1 import tensor_pb2

from strata_server.elements import BFLOAT16, STRING, ElementType

_OTHERS: dict[int, ElementType] = {tensor_pb2.DATA_TYPE_BFLOAT16: BFLOAT16, tensor_pb2.DATA_TYPE_STRING: STRING}


def _find_dtype(number: int, name: str) -> ElementType:
    return _OTHERS.get(number) or np.dtype(name.removeprefix("DATA_TYPE_").lower())


DTYPES: dict[int, ElementType] = {
    value.number: _find_dtype(value.number, value.name)
    for value in tensor_pb2.DataType.DESCRIPTOR.values
    if value.number != tensor_pb2.DATA_TYPE_UNSPECIFIED
}
NAMES = {dtype: tensor_pb2.DataType.Name(number) for number, dtype in DTYPES.items()}
"""As protobuf has them, such as DATA_TYPE_FLOAT32."""
