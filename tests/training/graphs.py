"""Questions to an exported graph, asked without the code that made it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt
import onnx
import onnxruntime

Array = npt.NDArray[Any]


def run(model: onnx.ModelProto, rows: Mapping[str, Array]) -> dict[str, Array]:
    """Return every layer's activation."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in model.graph.output]
    return dict(zip(names, session.run(names, dict(rows)), strict=True))


def names_of(values: Sequence[onnx.ValueInfoProto]) -> list[str]:
    return [value.name for value in values]


def bypass(graph: onnx.GraphProto, layer: str) -> set[str]:
    """Return the outputs that a value of an input reaches, be it only by its shape, on a way that avoids a layer."""
    reached = set(names_of(graph.input)) - {layer}
    for node in graph.node:  # ONNX wants each after those it takes its values from
        if reached & set(node.input):
            reached |= set(node.output) - {layer}
    return reached & set(names_of(graph.output))
