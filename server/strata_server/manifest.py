"""What an artifact says of itself, read from the ONNX file's metadata."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from google.protobuf import json_format
from strata.v1 import catalog_pb2, manifest_pb2

from strata_server.catalog import Catalog, Layer
from strata_server.data_types import DTYPES
from strata_server.elements import ElementType
from strata_server.errors import ArtifactError, NotFound, quote
from strata_server.images import Color, Preprocessing, Resampling

KEY = "strata.manifest"
FORMAT = 1

# Figures travel as 64-bit integers, and are summed up.
_LARGEST_FIGURE = 2**62

_COLORS = {
    catalog_pb2.COLOR_GRAYSCALE: Color.GRAYSCALE,
    catalog_pb2.COLOR_RGB: Color.RGB,
    catalog_pb2.COLOR_BGR: Color.BGR,
}
_CHANNELS = {catalog_pb2.COLOR_GRAYSCALE: 1, catalog_pb2.COLOR_RGB: 3, catalog_pb2.COLOR_BGR: 3}
_RESAMPLINGS = {
    catalog_pb2.RESAMPLING_NEAREST: Resampling.NEAREST,
    catalog_pb2.RESAMPLING_BILINEAR: Resampling.BILINEAR,
}


@dataclass(frozen=True)
class TrainingFigures:
    """What the training reached; strata/v1/catalog.proto says what each figure is."""

    data: str
    data_digest: str
    network: str
    seed: int
    epochs: int
    training_rows: int
    test_rows: int
    test_accuracy: float
    test_loss: float


@dataclass(frozen=True)
class Manifest:
    """An artifact's description of itself, checked in itself but not against the graph."""

    catalog: Catalog
    classes: tuple[str, ...]
    preprocessing: Preprocessing | None
    training: TrainingFigures | None


def read_manifest(metadata: Mapping[str, str]) -> Manifest:
    """Return the manifest that stands in the metadata of an ONNX file, under `KEY`.

    Raises:
        ArtifactError: it is damaged, of a newer format, or it contradicts itself.
    """
    try:
        message = json_format.Parse(metadata[KEY], manifest_pb2.Manifest(), ignore_unknown_fields=True)
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise ArtifactError(f"its manifest cannot be read: {error}") from error
    if message.format != FORMAT:
        raise ArtifactError(f"expected a manifest of format {FORMAT}, received {message.format}")
    catalog = _read_catalog(message)
    return Manifest(
        catalog=catalog,
        classes=tuple(message.classes),
        preprocessing=_read_preprocessing(message, catalog),
        training=_read_training(message),
    )


def _read_catalog(message: manifest_pb2.Manifest) -> Catalog:
    layers = [_read_layer(layer) for layer in message.layers]
    _refuse_twice("layer", [layer.name for layer in layers])
    _refuse_twice("input", message.inputs)
    try:
        catalog = Catalog(layers, message.inputs)
    except NotFound as error:
        raise ArtifactError(f"its manifest names an input that is not among its layers: {error}") from error
    if not catalog.inputs or not catalog.default_exits:
        raise ArtifactError("its manifest names no input or no default exit")
    if max(catalog.parameters, catalog.multiply_adds) > _LARGEST_FIGURE:
        raise ArtifactError("its manifest's figures are beyond what any network has")
    _check_classes(catalog, message.classes)
    return catalog


def _read_layer(message: catalog_pb2.Layer) -> Layer:
    shape = tuple(message.shape)
    layer = Layer(
        name=message.name,
        kind=message.kind,
        shape=shape,
        dtype=_read_dtype(message),
        parameters=message.parameters,
        multiply_adds=message.multiply_adds,
        depth=message.depth,
        default_exit=message.default_exit,
    )
    if shape[:1] != (-1,) or any(size < 1 for size in shape[1:]):
        raise ArtifactError(
            f"its manifest gives layer {quote(layer.name)} the shape {shape}; "
            "expected -1 for the batch, then sizes of at least 1"
        )
    if min(layer.parameters, layer.multiply_adds, layer.depth) < 0:
        raise ArtifactError(f"its manifest gives layer {quote(layer.name)} a negative figure")
    return layer


def _read_dtype(layer: catalog_pb2.Layer) -> ElementType:
    if layer.data_type not in DTYPES:
        raise ArtifactError(f"its manifest gives layer {quote(layer.name)} no data type")
    return DTYPES[layer.data_type]


def _refuse_twice(what: str, names: Sequence[str]) -> None:
    if len(set(names)) != len(names):
        raise ArtifactError(f"its manifest names the same {what} twice")


def _check_classes(catalog: Catalog, classes: Sequence[str]) -> None:
    shapes = [layer.shape for layer in catalog.default_exits]
    if classes and shapes != [(-1, len(classes))]:
        raise ArtifactError(
            f"its manifest names {len(classes)} classes; expected one default exit of shape (-1, {len(classes)})"
        )


def _read_preprocessing(message: manifest_pb2.Manifest, catalog: Catalog) -> Preprocessing | None:
    if not message.HasField("preprocessing"):
        return None
    rule = message.preprocessing
    shape = next((layer.shape or () for layer in catalog.inputs if layer.name == rule.input), ())
    channels = _CHANNELS.get(rule.color)
    known = channels is not None and rule.resampling in _RESAMPLINGS
    if not known or len(shape) != 4 or shape[3] != channels:
        raise ArtifactError("its manifest's preprocessing is incomplete, or does not fit an input of the network")
    means, deviations = tuple(rule.means), tuple(rule.deviations)
    if {len(means), len(deviations)} - {0, channels}:
        raise ArtifactError(f"its manifest's preprocessing has means or deviations for other than {channels} channels")
    if not np.isfinite((rule.scale, *means, *deviations)).all() or 0 in {rule.scale, *deviations}:
        raise ArtifactError("its manifest's preprocessing has a scale or deviation of 0, or a figure that is no number")
    return Preprocessing(
        input=rule.input,
        size=(shape[1], shape[2]),
        color=_COLORS[rule.color],
        resampling=_RESAMPLINGS[rule.resampling],
        scale=rule.scale,
        means=means,
        deviations=deviations,
    )


def _read_training(message: manifest_pb2.Manifest) -> TrainingFigures | None:
    if not message.HasField("training"):
        return None
    return TrainingFigures(**{field.name: getattr(message.training, field.name) for field in fields(TrainingFigures)})
