"""What an artifact says of itself, in the ONNX file's metadata."""

from collections.abc import Sequence

import onnx
from google.protobuf import json_format
from onnx import helper
from strata.v1 import catalog_pb2, manifest_pb2

from strata_training.errors import Unreadable
from strata_training.libraries import export_versions
from strata_training.records import Record

KEY = "strata.manifest"
FORMAT = 1


def make_manifest(
    inputs: Sequence[str],
    layers: Sequence[catalog_pb2.Layer],
    parity: Sequence[manifest_pb2.LayerParity],
    record: Record | None,
) -> manifest_pb2.Manifest:
    """Return the manifest; a model that no run of ours made has no classes, preprocessing or figures."""
    manifest = manifest_pb2.Manifest(
        format=FORMAT,
        inputs=inputs,
        layers=layers,
        parity=parity,
        library_versions=export_versions(),
    )
    if record:
        manifest.classes.extend(record.classes)
        if record.preprocessing:
            manifest.preprocessing.CopyFrom(record.preprocessing.to_message())
        manifest.training.CopyFrom(_make_figures(record))
    return manifest


def write_manifest(model: onnx.ModelProto, manifest: manifest_pb2.Manifest) -> None:
    """Put the manifest into a model's metadata, in place of all that is there."""
    # Sorted, because a map has no order and the same export shall give the same bytes.
    text = json_format.MessageToJson(manifest, indent=None, sort_keys=True, ensure_ascii=False)
    helper.set_model_props(model, {KEY: text})


def read_manifest(model: onnx.ModelProto) -> manifest_pb2.Manifest:
    """Return the manifest in a model's metadata.

    Raises:
        Unreadable: there is none, it is damaged, or of a format that this release does not know.
    """
    text = next((entry.value for entry in model.metadata_props if entry.key == KEY), None)
    if text is None:
        raise Unreadable(f"no manifest ({KEY}) in its metadata: it was not made by `strata-train export`")
    try:
        manifest = json_format.Parse(text, manifest_pb2.Manifest(), ignore_unknown_fields=True)
    except json_format.ParseError as error:
        raise Unreadable(f"its manifest is damaged: {error}") from error
    if manifest.format != FORMAT:
        raise Unreadable(f"expected a manifest of format {FORMAT}, received {manifest.format}")
    return manifest


def _make_figures(record: Record) -> catalog_pb2.TrainingFigures:
    return catalog_pb2.TrainingFigures(
        data=record.training.data,
        data_digest=record.training.data_digest,
        network=record.network,
        seed=record.plan.seed,
        epochs=record.training.epochs,
        training_rows=record.training.training_rows,
        test_rows=record.training.test_rows,
        test_accuracy=record.training.test_accuracy,
        test_loss=record.training.test_loss,
    )
