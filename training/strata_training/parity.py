"""How far an artifact is from Keras, layer by layer."""

import os

# The wheels send telemetry unless this is set before the import.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import itertools
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
"""Of the artifact's runs: one, where an axis may get lost, and a number that is no other size in a usual network,
so that a batch written into the graph or exchanged with another axis is seen."""

_SEED = 0

Array = npt.NDArray[np.generic]
Arrays = Mapping[str, Array]


def measure(network: Trace, artifact: onnx.ModelProto, tolerance: Tolerance) -> list[manifest_pb2.LayerParity]:
    """Run Keras and an artifact on the same rows, both on the CPU, and compare each layer.

    Keras computes all rows at once: TensorFlow multiplies a single row by another routine, whose own rounding
    reaches 1.4e-5 in the digits CNN (measured against float64), more than is allowed between the two.

    Returns:
        One for each layer but the inputs, in the order of the network.

    Raises:
        Mismatch: the artifact lacks a layer, or cannot be run.
    """
    _check_layers(network, artifact)
    rows = _draw_rows(network.inputs, sum(BATCH_SIZES))
    expected, received = _run_keras(network, rows), _run_artifact(artifact, rows)
    return [_compare(step.name, expected[step.name], received[step.name], tolerance) for step in network.steps]


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


def _draw_rows(inputs: Sequence[Input], count: int) -> Arrays:
    """Return random rows: in [0, 1) as pictures are; whole numbers below 128 where they must be."""
    random = np.random.default_rng(_SEED)
    return {entry.name: _draw(random, (count, *entry.tensor.shape[1:]), entry.tensor.dtype) for entry in inputs}


def _draw(random: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Array:
    if np.issubdtype(np.dtype(dtype), np.floating):
        return random.random(shape).astype(dtype)
    return random.integers(0, 128, shape).astype(dtype)


def _parts() -> Iterator[slice]:
    """Give the rows of each batch: one batch after the other."""
    for stop, size in zip(itertools.accumulate(BATCH_SIZES), BATCH_SIZES, strict=True):
        yield slice(stop - size, stop)


def _run_keras(network: Trace, rows: Arrays) -> Arrays:
    """Return what Keras computes for each layer; for the exits the model as a whole, which knows of no steps."""
    with tf.device("/CPU:0"):
        values = {name: tf.convert_to_tensor(value) for name, value in rows.items()}
        answer = network.model([values[entry.name] for entry in network.inputs], training=False)
        for step in network.steps:
            values[step.name] = step.compute([values[source] for source in step.sources])
    values.update(zip(network.exits, keras.tree.flatten(answer), strict=True))
    return {name: value.numpy() for name, value in values.items()}


def _run_artifact(artifact: onnx.ModelProto, rows: Arrays) -> Mapping[str, list[Array]]:
    """Return for each layer what it computes for each batch."""
    names = [output.name for output in artifact.graph.output]
    try:
        session = onnxruntime.InferenceSession(artifact.SerializeToString(), providers=["CPUExecutionProvider"])
        batches = [session.run(names, {name: value[part] for name, value in rows.items()}) for part in _parts()]
    except Exception as error:  # onnxruntime's errors share no other base class
        raise Mismatch(f"the artifact cannot be run on what the Keras model takes: {error}") from error
    return {name: list(values) for name, values in zip(names, zip(*batches, strict=True), strict=True)}


def _compare(name: str, expected: Array, received: Sequence[Array], tolerance: Tolerance) -> manifest_pb2.LayerParity:
    differences = [_difference(expected[part], batch) for part, batch in zip(_parts(), received, strict=True)]
    magnitude = _largest(expected)
    return manifest_pb2.LayerParity(
        layer=name,
        # numpy's maximum keeps a NaN, Python's may drop it.
        largest_difference=np.max(differences),
        largest_magnitude=magnitude,
        tolerance=tolerance.allow(magnitude),
    )


def _difference(expected: Array, received: Array) -> float:
    if expected.shape != received.shape:
        return float("inf")
    return _largest(expected.astype(np.float64) - received.astype(np.float64))


def _largest(value: Array) -> float:
    return float(np.max(np.abs(value.astype(np.float64)), initial=0))
