"""A network as it is held: its graph, and its large weights once, beside it."""

from collections.abc import Iterable, Mapping

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

from strata_server.graph import Graph

# Smaller ones stay in the graph: shapes and axes are among them, which inference must see.
_LARGE_BYTES = 1024

_TYPES = {
    onnx.TensorProto.FLOAT,
    onnx.TensorProto.DOUBLE,
    onnx.TensorProto.FLOAT16,
    onnx.TensorProto.BFLOAT16,
    onnx.TensorProto.INT8,
    onnx.TensorProto.INT16,
    onnx.TensorProto.INT32,
    onnx.TensorProto.INT64,
    onnx.TensorProto.UINT8,
    onnx.TensorProto.UINT16,
    onnx.TensorProto.UINT32,
    onnx.TensorProto.UINT64,
    onnx.TensorProto.BOOL,
}
_VALUES = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data")


class Network:
    """A graph without its large weights, and these as onnxruntime takes them.

    They are handed to every session as they lie: a slice is then a few kilobytes to cut and to read, and no weight
    is copied for it.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        """Take a model apart; it is empty of large weights afterwards.

        Raises:
            ArtifactError: its graph cannot be walked.
        """
        self._large = dict(_take_large_weights(model.graph.initializer))
        # Parsed anew, as the memory of a cleared field goes back only with its whole message.
        self.graph = Graph(onnx.load_model_from_string(model.SerializeToString()))

    def weights(self, names: Iterable[str]) -> Mapping[str, onnxruntime.OrtValue]:
        """Return those of some weights that lie beside the graph."""
        return {name: self._large[name] for name in names if name in self._large}

    def weight_bytes(self, names: Iterable[str]) -> int:
        """Return how much memory those of some weights take that lie beside the graph."""
        return sum(self._large[name].tensor_size_in_bytes() for name in names if name in self._large)


def _take_large_weights(
    tensors: Iterable[onnx.TensorProto],
) -> Iterable[tuple[str, onnxruntime.OrtValue]]:
    for tensor in tensors:
        if tensor.data_type not in _TYPES or not _holds_much(tensor):
            continue
        value = _hold(tensor)
        for field in _VALUES:
            tensor.ClearField(field)
        _refer(tensor, value.tensor_size_in_bytes())
        yield tensor.name, value


def _hold(tensor: onnx.TensorProto) -> onnxruntime.OrtValue:
    array = numpy_helper.to_array(tensor)
    if tensor.data_type == onnx.TensorProto.BFLOAT16:  # onnxruntime takes it as bytes that are said to be such
        return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(array.view(np.uint16), tensor.data_type)
    return onnxruntime.OrtValue.ortvalue_from_numpy(array)


def _holds_much(tensor: onnx.TensorProto) -> bool:
    return any(len(getattr(tensor, field)) > _LARGE_BYTES for field in _VALUES)


def _refer(tensor: onnx.TensorProto, length: int) -> None:
    """Say in a tensor that its value comes from elsewhere; onnxruntime takes it from the session's options."""
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", "beside"), ("offset", "0"), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
