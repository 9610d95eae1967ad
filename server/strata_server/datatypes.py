"""The Open Inference Protocol's names of the types of elements; Triton's configurations have them as well."""

from collections.abc import Mapping

import numpy as np

from strata_server.elements import BFLOAT16, STRING, ElementType

DTYPES: Mapping[str, ElementType] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BF16": BFLOAT16,
    "BYTES": STRING,
}
DATATYPES: Mapping[ElementType, str] = {dtype: name for name, dtype in DTYPES.items()}
