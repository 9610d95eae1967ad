"""What an artifact says of itself, read from the ONNX file's metadata."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from google.protobuf import json_format
from strata.v1 import catalog_pb2, manifest_pb2, tensor_pb2

from strata_server.catalog import Catalog, Layer
from strata_server.errors import ArtifactError, NotFound, quote
from strata_server.images import Color, Preprocessing, Resampling

KEY = "strata.manifest"
FORMAT = 1


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
    """Return the manifest that stands in the metadata of an ONNX file.

    Raises:
        ArtifactError: there is none, it is of a newer format, or it contradicts itself.
    """
    if KEY not in metadata:
        raise ArtifactError(f"no manifest ({KEY}) in its metadata; export it with `strata-train export`")
    try:
        message = json_format.Parse(metadata[KEY], manifest_pb2.Manifest(), ignore_unknown_fields=True)
    except json_format.ParseError as error:
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
    if len({layer.name for layer in layers}) != len(layers):
        raise ArtifactError("its manifest names a layer twice")
    try:
        catalog = Catalog(layers, message.inputs)
    except NotFound as error:
        raise ArtifactError(f"its manifest names an input that is not among its layers: {error}") from error
    if not catalog.inputs or not catalog.default_exits:
        raise ArtifactError("its manifest names no input or no default exit")
    return catalog


def _read_layer(message: catalog_pb2.Layer) -> Layer:
    return Layer(
        name=message.name,
        kind=message.kind,
        shape=tuple(message.shape),
        dtype=_read_dtype(message),
        parameters=message.parameters,
        multiply_adds=message.multiply_adds,
        depth=message.depth,
        default_exit=message.default_exit,
    )


def _read_dtype(layer: catalog_pb2.Layer) -> np.dtype[np.generic]:
    name = tensor_pb2.DataType.Name(layer.data_type).removeprefix("DATA_TYPE_").lower()
    if name == "unspecified":
        raise ArtifactError(f"its manifest gives layer {quote(layer.name)} no data type")
    return np.dtype(name)


def _read_preprocessing(message: manifest_pb2.Manifest, catalog: Catalog) -> Preprocessing | None:
    if not message.HasField("preprocessing"):
        return None
    rule = message.preprocessing
    try:
        shape = catalog.find(rule.input).shape
        return Preprocessing(
            input=rule.input,
            size=(shape[1], shape[2]),
            color=Color[catalog_pb2.Color.Name(rule.color).removeprefix("COLOR_")],
            resampling=Resampling[catalog_pb2.Resampling.Name(rule.resampling).removeprefix("RESAMPLING_")],
            scale=rule.scale,
            means=tuple(rule.means),
            deviations=tuple(rule.deviations),
        )
    except (NotFound, KeyError, IndexError) as error:
        raise ArtifactError("its manifest's preprocessing is incomplete or names no image input") from error


def _read_training(message: manifest_pb2.Manifest) -> TrainingFigures | None:
    if not message.HasField("training"):
        return None
    return TrainingFigures(
        **{field.name: getattr(message.training, field.name) for field in fields(TrainingFigures)}
    )
