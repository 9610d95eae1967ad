"""One ONNX file of the model repository, read and checked."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from strata_server.catalog import Catalog, Layer
from strata_server.errors import ArtifactError, quote
from strata_server.manifest import Manifest, read_manifest
from strata_server.tensors import describe


@dataclass(frozen=True)
class Artifact:
    """A network with every layer addressable, and its description of itself."""

    model: onnx.ModelProto
    """The graph, with the shapes of its tensors inferred."""
    manifest: Manifest
    digest: str
    """SHA-256 of the file, in hexadecimal digits."""


def read_artifact(path: Path) -> Artifact:
    """Return the artifact in a file.

    Raises:
        ArtifactError: it is missing, no ONNX model, without a manifest, or the two contradict each other.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"it cannot be read: {error.strerror}") from error
    model = _parse(data)
    manifest = read_manifest({entry.key: entry.value for entry in model.metadata_props})
    _refuse_external_data(model)
    _check_layers(model, manifest.catalog)
    return Artifact(model, manifest, hashlib.sha256(data).hexdigest())


def _parse(data: bytes) -> onnx.ModelProto:
    try:
        return onnx.shape_inference.infer_shapes(onnx.load_model_from_string(data))
    except (DecodeError, onnx.shape_inference.InferenceError) as error:
        raise ArtifactError("it is not an ONNX model, or a damaged one") from error


def _refuse_external_data(model: onnx.ModelProto) -> None:
    """Refuse weights in other files: such a path can lead anywhere on this machine."""
    graphs: list[onnx.GraphProto | onnx.FunctionProto] = [model.graph, *model.functions]
    for tensor in (tensor for graph in graphs for tensor in _tensors(graph)):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise ArtifactError(
                f"its tensor {quote(tensor.name)} lies in another file; expected all weights inside"
            )


def _tensors(graph: onnx.GraphProto | onnx.FunctionProto) -> Iterator[onnx.TensorProto]:
    if isinstance(graph, onnx.GraphProto):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        yield from (attribute.t, *attribute.tensors)
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)
        if attribute.HasField("g"):
            yield from _tensors(attribute.g)
        for inner in attribute.graphs:
            yield from _tensors(inner)


def _check_layers(model: onnx.ModelProto, catalog: Catalog) -> None:
    """Check that each layer of the catalog is a tensor of the graph, of that shape and type."""
    infos = {info.name: info for info in (*model.graph.value_info, *model.graph.input, *model.graph.output)}
    for layer in catalog.layers:
        if layer.name not in infos:
            raise ArtifactError(f"its manifest names a layer {quote(layer.name)} that its graph has not")
        _check_layer(layer, infos[layer.name].type.tensor_type)
    undeclared = {info.name for info in model.graph.input} - {layer.name for layer in catalog.inputs}
    if undeclared:
        raise ArtifactError(f"its manifest does not name the inputs {sorted(undeclared)} of its graph")


def _check_layer(layer: Layer, tensor: onnx.TypeProto.Tensor) -> None:
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    sizes = [dimension.dim_value or -1 for dimension in tensor.shape.dim]
    fits = len(sizes) == len(layer.shape) and all(
        -1 in {size, declared} or size == declared for size, declared in zip(sizes, layer.shape, strict=True)
    )
    if dtype != layer.dtype or not fits:
        raise ArtifactError(
            f"its manifest describes layer {quote(layer.name)} as {describe(layer.shape, layer.dtype)}, "
            f"its graph as {describe(tuple(sizes), dtype)}"
        )
