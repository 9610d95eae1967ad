"""How far an artifact is from Keras, layer by layer."""

import os

# The wheels send telemetry unless this is set before the import.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from collections.abc import Iterator, Mapping, Sequence

import keras
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import tensorflow as tf
from strata.v1 import manifest_pb2

from strata_training.errors import Mismatch, ParityMiss
from strata_training.networks import Tolerance
from strata_training.trace import Input, Trace

BATCH_SIZES = (1, 5)
"""One, where an axis may get lost, and a number that is no other size in a usual network, so that a batch
written into the graph or exchanged with another axis is seen."""

_SEED = 0

Arrays = Mapping[str, npt.NDArray[np.generic]]


def measure(network: Trace, artifact: onnx.ModelProto, tolerance: Tolerance) -> list[manifest_pb2.LayerParity]:
    """Run Keras and an artifact on the same rows, both on the CPU, and compare each layer.

    Returns:
        One for each layer but the inputs, in the order of the network.

    Raises:
        Mismatch: the artifact lacks a layer, or cannot be run.
    """
    _check_layers(network, artifact)
    compared = [_compare(network, artifact, rows) for rows in _batches(network.inputs)]
    return [_summarize(step.name, [layers[step.name] for layers in compared], tolerance) for step in network.steps]


def require(parity: Sequence[manifest_pb2.LayerParity]) -> None:
    """Check that every layer is as near as it must be.

    Raises:
        ParityMiss: one is not; the message names the worst.
    """
    missed = [layer for layer in parity if not holds(layer)]
    if missed:
        worst = max(missed, key=_excess)
        raise ParityMiss(
            f"{len(missed)} of {len(parity)} layers differ from Keras by more than is allowed; the worst is "
            f"{worst.layer!r}: expected at most {worst.tolerance:.2g}, received {worst.largest_difference:.2g}"
        )


def holds(layer: manifest_pb2.LayerParity) -> bool:
    """Say whether a layer is as near as it must be; one with a NaN never is."""
    return layer.largest_difference <= layer.tolerance


def _excess(layer: manifest_pb2.LayerParity) -> float:
    excess = layer.largest_difference / layer.tolerance
    return float("inf") if np.isnan(excess) else excess


def _check_layers(network: Trace, artifact: onnx.ModelProto) -> None:
    outputs = {output.name for output in artifact.graph.output}
    missing = [step.name for step in network.steps if step.name not in outputs]
    if missing:
        raise Mismatch(f"expected each layer of the Keras model, received none named {', '.join(missing)}")


def _batches(inputs: Sequence[Input]) -> Iterator[dict[str, npt.NDArray[np.generic]]]:
    """Give random rows for each batch size: in [0, 1) as pictures are; whole numbers below 128 where they must be."""
    random = np.random.default_rng(_SEED)
    for size in BATCH_SIZES:
        shapes = {entry: (size, *entry.tensor.shape[1:]) for entry in inputs}
        yield {entry.name: _draw(random, shape, entry.tensor.dtype) for entry, shape in shapes.items()}


def _draw(random: np.random.Generator, shape: tuple[int, ...], dtype: str) -> npt.NDArray[np.generic]:
    if np.issubdtype(np.dtype(dtype), np.floating):
        return random.random(shape).astype(dtype)
    return random.integers(0, 128, shape).astype(dtype)


def _compare(network: Trace, artifact: onnx.ModelProto, rows: Arrays) -> dict[str, tuple[float, float]]:
    """Return the largest difference and the largest magnitude of each layer."""
    expected, received = _run_keras(network, rows), _run_artifact(artifact, rows)
    return {name: (_difference(value, received[name]), _magnitude(value)) for name, value in expected.items()}


def _run_keras(network: Trace, rows: Arrays) -> dict[str, npt.NDArray[np.generic]]:
    layers = keras.Model([entry.tensor for entry in network.inputs], {s.name: s.tensor for s in network.steps})
    with tf.device("/CPU:0"):
        values = layers([rows[entry.name] for entry in network.inputs], training=False)
    return {name: value.numpy() for name, value in values.items()}


def _run_artifact(artifact: onnx.ModelProto, rows: Arrays) -> dict[str, npt.NDArray[np.generic]]:
    try:
        session = onnxruntime.InferenceSession(artifact.SerializeToString(), providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, dict(rows)), strict=True))
    except Exception as error:  # onnxruntime's errors share no other base class
        raise Mismatch(f"the artifact cannot be run on what the Keras model takes: {error}") from error


def _difference(expected: npt.NDArray[np.generic], received: npt.NDArray[np.generic]) -> float:
    if expected.shape != received.shape:
        return float("inf")
    return float(np.max(np.abs(expected.astype(np.float64) - received.astype(np.float64)), initial=0))


def _magnitude(value: npt.NDArray[np.generic]) -> float:
    return float(np.max(np.abs(value.astype(np.float64)), initial=0))


def _summarize(name: str, batches: Sequence[tuple[float, float]], tolerance: Tolerance) -> manifest_pb2.LayerParity:
    # numpy's maximum keeps a NaN, Python's may drop it.
    difference, magnitude = np.max(batches, axis=0)
    return manifest_pb2.LayerParity(
        layer=name,
        largest_difference=difference,
        largest_magnitude=magnitude,
        tolerance=tolerance.allow(magnitude),
    )
