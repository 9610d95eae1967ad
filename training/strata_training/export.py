"""From a Keras model to an artifact, and the proof that both compute the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from strata.v1 import catalog_pb2, manifest_pb2

from strata_training import parity
from strata_training.artifacts import read_artifact, write_artifact
from strata_training.conversion import check, convert
from strata_training.errors import Mismatch, Unreadable
from strata_training.layers import describe
from strata_training.manifest import make_manifest, read_manifest, write_manifest
from strata_training.networks import find_tolerance
from strata_training.sources import Source
from strata_training.trace import Trace, trace


@dataclass(frozen=True, eq=False)
class Comparison:
    """The layers of a network, and how far the artifact is from Keras in each."""

    layers: Sequence[catalog_pb2.Layer]
    parity: Sequence[manifest_pb2.LayerParity]
    """One for each layer but the inputs."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """What becomes an artifact if it is near enough to Keras."""

    model: onnx.ModelProto
    """With the manifest in its metadata."""
    comparison: Comparison


def convert_source(source: Source) -> Candidate:
    """Convert a Keras model, check the result, and measure how far it is from Keras; nothing is written.

    Raises:
        Unsupported: the network cannot be exported with every layer addressable.
    """
    network = trace(source.model)
    model = convert(network)
    check(model)
    comparison = _compare(network, model, source.network)
    inputs = [entry.name for entry in network.inputs]
    write_manifest(model, make_manifest(inputs, comparison.layers, comparison.parity, source.record))
    return Candidate(model, comparison)


def publish(candidate: Candidate, folder: Path) -> Path:
    """Write a candidate as a version and return the artifact's path.

    Raises:
        ParityMiss: it is not near enough to Keras; nothing is written.
        Exists: that version is there already.
    """
    parity.require(candidate.comparison.parity)
    return write_artifact(folder, candidate.model)


def verify(path: Path, source: Source) -> Comparison:
    """Measure how far an artifact on disk is from a Keras model.

    Raises:
        NotFound: there is no such file.
        Unreadable: it is not an artifact.
        Mismatch: its layers are not the model's.
    """
    model = read_artifact(path)
    try:
        manifest = read_manifest(model)
    except Unreadable as error:
        raise Unreadable(f"{path} is not an artifact: {error}") from error
    network = trace(source.model)
    _check_layers(manifest, describe(network))
    # The artifact's own word for its network: the same file is held to the same tolerance against any source.
    return _compare(network, model, manifest.training.network)


def _compare(network: Trace, model: onnx.ModelProto, network_name: str) -> Comparison:
    return Comparison(describe(network), parity.measure(network, model, find_tolerance(network_name)))


def _check_layers(manifest: manifest_pb2.Manifest, layers: Sequence[catalog_pb2.Layer]) -> None:
    described = {layer.name: layer for layer in manifest.layers}
    for layer in layers:
        if layer.name not in described:
            raise Mismatch(f"the artifact has no layer {layer.name!r}, which the Keras model has")
        expected, received = list(layer.shape), list(described.pop(layer.name).shape)
        if expected != received:
            raise Mismatch(f"layer {layer.name!r}: expected shape {expected} as in Keras, received {received}")
    if described:
        raise Mismatch(f"the artifact has layers that the Keras model lacks: {', '.join(sorted(described))}")
