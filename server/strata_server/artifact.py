"""One ONNX file of the model repository, read and checked."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from strata_server.catalog import Catalog, Layer
from strata_server.derivation import derive_catalog
from strata_server.errors import ArtifactError, quote, quote_all
from strata_server.external_data import embed_external_data, refuse_external_data
from strata_server.geometry import measure_geometry
from strata_server.graph import Graph, Tensor
from strata_server.images import Preprocessing
from strata_server.manifest import KEY, TrainingFigures, read_manifest
from strata_server.network import Network
from strata_server.tensors import describe
from strata_server.weights import all_tensors

_BATCH = "batch"


@dataclass(frozen=True)
class Artifact:
    """A network with every layer addressable, and what is known of it."""

    network: Network
    catalog: Catalog
    """From the manifest; from the graph where the file has none."""
    classes: tuple[str, ...]
    preprocessing: Preprocessing | None
    training: TrainingFigures | None
    digest: str
    """SHA-256 of the file, and of its weights in other files, in hexadecimal digits."""
    is_foreign: bool
    """Whether it has no manifest: nothing then says that the network takes any number of rows."""


def read_artifact(path: Path, *, allow_external_data: bool = False) -> Artifact:
    """Return the artifact in a file.

    Args:
        path: an ONNX file.
        allow_external_data: whether its weights may lie in other files, inside its own folder.

    Raises:
        ArtifactError: it is missing, no ONNX model, or one that cannot be served; or it has a manifest that
            contradicts itself or the graph.
    """
    data = _read(path)
    digest = hashlib.sha256(data)
    model = _parse(data)
    del data
    if allow_external_data:
        for tensor in _embed(model, path.parent):
            digest.update(tensor.raw_data)
    else:
        refuse_external_data(model)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    network = Network(model)
    if KEY not in metadata:
        return Artifact(network, derive_catalog(network.graph), (), None, None, digest.hexdigest(), is_foreign=True)
    manifest = read_manifest(metadata)
    _check_layers(network.graph, manifest.catalog)
    # Inference loses the batch at a flatten; the manifest says that it is the first size of every layer.
    network.graph.tell({layer.name: (_BATCH, *(layer.shape or ())[1:]) for layer in manifest.catalog.layers})
    return Artifact(
        network,
        _lay_out(manifest.catalog, network.graph),
        manifest.classes,
        manifest.preprocessing,
        manifest.training,
        digest.hexdigest(),
        is_foreign=False,
    )


def _read(path: Path) -> bytes:
    if not path.is_file():  # opening a pipe would wait for ever
        raise ArtifactError("it is no regular file")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"it cannot be read: {error.strerror}") from error


def _parse(data: bytes) -> onnx.ModelProto:
    try:
        return onnx.load_model_from_string(data)
    except Exception as error:  # what the parser raises on damaged bytes has no common class
        raise ArtifactError("it is not an ONNX model, or a damaged one") from error


def _embed(model: onnx.ModelProto, folder: Path) -> list[onnx.TensorProto]:
    """Read the weights that lie in other files, and return them."""
    external = [tensor for tensor in all_tensors(model) if tensor.data_location == onnx.TensorProto.EXTERNAL]
    embed_external_data(model, folder)
    return external


def _lay_out(catalog: Catalog, graph: Graph) -> Catalog:
    """Return a catalog with what the manifest leaves to the graph: where the channels lie, and what a place sees."""
    geometry = measure_geometry(graph)
    layers = [
        replace(
            layer,
            # Where the graph leaves it open, channels are last, as in Keras.
            channel_axis=geometry[layer.name].channel_axis or max(0, len(layer.shape or ()) - 1),
            receptive_field=geometry[layer.name].receptive_field,
        )
        for layer in catalog.layers
    ]
    return Catalog(layers, [layer.name for layer in catalog.inputs])


def _check_layers(graph: Graph, catalog: Catalog) -> None:
    """Check that each layer of the catalog is a tensor of the graph, of that shape and type."""
    for layer in catalog.layers:
        if layer.name not in graph.varying:
            raise ArtifactError(f"its manifest names a layer {quote(layer.name)} that its graph has not")
        _check_layer(layer, graph.tensor(layer.name))
    declared = {layer.name for layer in catalog.inputs}
    undeclared = [name for name in graph.inputs if name not in declared]
    if undeclared:
        raise ArtifactError(f"its manifest does not name the inputs {quote_all(undeclared)} of its graph")


def _check_layer(layer: Layer, tensor: Tensor) -> None:
    if tensor.dtype is None or layer.shape is None:
        raise ArtifactError(f"its layer {quote(layer.name)} is no tensor of a known type in its graph")
    sizes = tuple(size if isinstance(size, int) else -1 for size in tensor.shape or ())
    # What inference leaves open, the manifest may know; what the graph fixes, it must not contradict.
    fits = tensor.shape is None or (
        len(sizes) == len(layer.shape)
        and all(size in {-1, declared} for size, declared in zip(sizes, layer.shape, strict=True))
    )
    if tensor.dtype != layer.dtype or not fits:
        raise ArtifactError(
            f"its manifest describes layer {quote(layer.name)} as {describe(layer.shape, layer.dtype)}, "
            f"its graph as {describe(sizes, tensor.dtype)}"
        )
