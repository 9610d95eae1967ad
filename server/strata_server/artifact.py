"""One ONNX file of the model repository, read and checked."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx

from strata_server.catalog import Catalog, Layer
from strata_server.errors import ArtifactError, quote, quote_all
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
    data = _read(path)
    model = _parse(data)
    manifest = read_manifest({entry.key: entry.value for entry in model.metadata_props})
    _refuse_external_data(model)
    _check_layers(model, manifest.catalog)
    return Artifact(model, manifest, hashlib.sha256(data).hexdigest())


def _read(path: Path) -> bytes:
    if not path.is_file():  # opening a pipe would wait for ever
        raise ArtifactError("it is no regular file")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"it cannot be read: {error.strerror}") from error


def _parse(data: bytes) -> onnx.ModelProto:
    try:
        model = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(data))
    except Exception as error:  # what the parser and the inference raise on damaged bytes has no common class
        raise ArtifactError("it is not an ONNX model, or a damaged one") from error
    if not model.graph.node:
        raise ArtifactError("it is not an ONNX model, or one without a network")
    return model


def _refuse_external_data(model: onnx.ModelProto) -> None:
    """Refuse weights in other files: such a path can lead anywhere on this machine."""
    graphs: list[onnx.GraphProto | onnx.FunctionProto] = [model.graph, *model.functions]
    for tensor in (tensor for graph in graphs for tensor in _tensors(graph)):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise ArtifactError(f"its tensor {quote(tensor.name)} lies in another file; expected all weights inside")


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
    known = {layer.name for layer in catalog.inputs} | {tensor.name for tensor in model.graph.initializer}
    undeclared = [info.name for info in model.graph.input if info.name not in known]
    if undeclared:
        raise ArtifactError(f"its manifest does not name the inputs {quote_all(undeclared)} of its graph")


def _check_layer(layer: Layer, tensor: onnx.TypeProto.Tensor) -> None:
    try:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    except KeyError as error:
        raise ArtifactError(f"its layer {quote(layer.name)} is no tensor of a known type in its graph") from error
    sizes = tuple(dimension.dim_value or -1 for dimension in tensor.shape.dim)
    # What inference leaves open, the manifest may know; what the graph fixes, it must not contradict.
    fits = len(sizes) == len(layer.shape) and all(
        size in {-1, declared} for size, declared in zip(sizes, layer.shape, strict=True)
    )
    if dtype != layer.dtype or not fits:
        raise ArtifactError(
            f"its manifest describes layer {quote(layer.name)} as {describe(layer.shape, layer.dtype)}, "
            f"its graph as {describe(sizes, dtype)}"
        )
