"""Networks of all types of elements, and what their layers must answer."""

from pathlib import Path

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx
from artifacts import write_artifact
from onnx import TensorProto, helper, numpy_helper

Array = npt.NDArray[np.generic]

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
SCALE = np.array([1.1, 2.2, 3.3], np.float32)
SUFFIX = "!"
NAMES = {1: "one", 2: "zw\u00f6lf", 3: ""}
VALUES: dict[str, Array] = {
    "BOOL": np.array([[True, False]]),
    "UINT8": np.array([[0, 255]], np.uint8),
    "UINT16": np.array([[0, 2**16 - 1]], np.uint16),
    "UINT32": np.array([[0, 2**32 - 1]], np.uint32),
    "UINT64": np.array([[0, 2**64 - 1]], np.uint64),
    "INT8": np.array([[-128, 127]], np.int8),
    "INT16": np.array([[-(2**15), 2**15 - 1]], np.int16),
    "INT32": np.array([[-(2**31), 2**31 - 1]], np.int32),
    "INT64": np.array([[-(2**63), 2**63 - 1]], np.int64),
    "FP16": np.array([[-0.5, np.inf]], np.float16),
    "FP32": np.array([[1e-40, 3e38]], np.float32),
    "FP64": np.array([[1e-310, 1e308]], np.float64),
    "BF16": np.array([[-1.5, 3e38]], BFLOAT16),
    "BYTES": np.array([["", "\u00e9\0\U0001f40c"]], object),
}
"""One row of two elements for each of the Open Inference Protocol's datatypes: the ends of its range."""


def echoes() -> onnx.ModelProto:
    """For each datatype an input of its name, which leaves as NAME_out as it came."""
    kinds = {name: helper.np_dtype_to_tensor_dtype(value.dtype) for name, value in VALUES.items()}
    nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in kinds]
    inputs = [info(name, kind, 2) for name, kind in kinds.items()]
    outputs = [info(f"{name}_out", kind, 2) for name, kind in kinds.items()]
    return model(nodes, inputs, outputs)


def brains() -> onnx.ModelProto:
    """Return x -> inner -> y, all bfloat16, computed in float32 between them as the CPU has it."""
    nodes = [
        helper.make_node("Cast", ["x"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["wide", "scale"], ["product"]),
        helper.make_node("Cast", ["product"], ["inner"], to=TensorProto.BFLOAT16),
        helper.make_node("Cast", ["inner"], ["again"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["again", "scale"], ["sum"]),
        helper.make_node("Cast", ["sum"], ["y"], to=TensorProto.BFLOAT16),
    ]
    ends = [info(name, TensorProto.BFLOAT16, len(SCALE)) for name in ("x", "y")]
    return model(nodes, ends[:1], ends[1:], [numpy_helper.from_array(SCALE, "scale")])


def brains_answer(x: Array) -> dict[str, Array]:
    """Return what the bfloat16 layers of `brains` must answer."""
    inner = (x.astype(np.float32) * SCALE).astype(BFLOAT16)
    return {"x": x, "inner": inner, "y": (inner.astype(np.float32) + SCALE).astype(BFLOAT16)}


def words() -> onnx.ModelProto:
    """Return text -> joined -> number, and code -> name: strings at either end and in the middle."""
    nodes = [
        helper.make_node("StringConcat", ["text", "suffix"], ["joined"]),
        helper.make_node(
            "LabelEncoder",
            ["joined"],
            ["number"],
            domain="ai.onnx.ml",
            keys_strings=["a!", "\u00e9!"],
            values_floats=[1.0, 2.0],
            default_float=-1.0,
        ),
        helper.make_node(
            "LabelEncoder",
            ["code"],
            ["name"],
            domain="ai.onnx.ml",
            keys_int64s=list(NAMES),
            values_strings=list(NAMES.values()),
            default_string="x" * 1000,
        ),
    ]
    inputs = [info("text", TensorProto.STRING, 2), info("code", TensorProto.INT64, 2)]
    outputs = [info("number", TensorProto.FLOAT, 2), info("name", TensorProto.STRING, 2)]
    return model(nodes, inputs, outputs, [numpy_helper.from_array(np.array(SUFFIX, object), "suffix")])


def write_typed(models: Path) -> None:
    """Write all of them into a model repository."""
    for make in (echoes, brains, words):
        write_artifact(models, make.__name__, model=make(), manifest="")


def info(name: str, kind: int, size: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, ["rows", size])


def model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    weights: list[onnx.TensorProto] | None = None,
) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "typed", inputs, outputs, weights)
    imports = [helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 3)]
    made = helper.make_model(graph, opset_imports=imports, ir_version=10)
    onnx.checker.check_model(made, full_check=True)
    return made
