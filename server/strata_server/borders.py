"""The borders of a slice, where onnxruntime's Python interface takes and gives no bfloat16.

What crosses them there is float32, which holds every bfloat16: the way out and in again changes nothing.
"""

from collections.abc import Collection, Iterable, Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper

from strata_server.elements import BFLOAT16
from strata_server.tensors import Array


def widen_borders(model: onnx.ModelProto) -> onnx.ModelProto:
    """Let the bfloat16 inputs and outputs of a model be float32, under `outer_name`; inside nothing changes."""
    graph = model.graph
    entering = [_widen(info) for info in graph.input if _is_bfloat16(info)]
    leaving = [_widen(info) for info in graph.output if _is_bfloat16(info)]
    if entering:  # these nodes stand before all others, as ONNX has it
        nodes = [_cast(outer_name(name), name, TensorProto.BFLOAT16) for name in entering]
        nodes += [onnx.NodeProto.FromString(node.SerializeToString()) for node in graph.node]
        del graph.node[:]
        graph.node.extend(nodes)
    graph.node.extend(_cast(name, outer_name(name), TensorProto.FLOAT) for name in leaving)
    return model


def outer_name(name: str) -> str:
    """Return the name that a bfloat16 tensor has outside of its slice."""
    return f"{name}//float32"


def outer_names(names: Iterable[str], bfloat16s: Collection[str]) -> list[str]:
    """Return the names that tensors have outside of a slice, some of which are bfloat16."""
    return [outer_name(name) if name in bfloat16s else name for name in names]


def widen_entries(entries: Mapping[str, Array], bfloat16s: Collection[str]) -> dict[str, Array]:
    """Return what enters a slice as it crosses the border."""
    return {
        outer_name(name) if name in bfloat16s else name: value.astype(np.float32) if name in bfloat16s else value
        for name, value in entries.items()
    }


def narrow_exits(names: Iterable[str], values: Iterable[Array], bfloat16s: Collection[str]) -> list[Array]:
    """Return what leaves a slice as it was inside."""
    return [
        value.astype(BFLOAT16, copy=False) if name in bfloat16s else value
        for name, value in zip(names, values, strict=True)
    ]


def _is_bfloat16(info: onnx.ValueInfoProto) -> bool:
    return info.type.tensor_type.elem_type == TensorProto.BFLOAT16


def _widen(info: onnx.ValueInfoProto) -> str:
    """Make the description that of the tensor outside, and return the name inside."""
    name = info.name
    info.name = outer_name(name)
    info.type.tensor_type.elem_type = TensorProto.FLOAT
    return name


def _cast(taken: str, given: str, element: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [taken], [given], to=element)
