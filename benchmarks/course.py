"""What a CNN course claims, on real runs: `make course` prints the tables of docs/course.md."""

import contextlib
import itertools
import math
import tempfile
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import sklearn.datasets
from strata.v1 import catalog_pb2
from strata_training import data
from strata_training.fit import fit
from strata_training.layers import describe
from strata_training.records import Plan
from strata_training.trace import trace

from benchmarks.tables import Cell, show

_SIZES = (7, 8, 27, 28)
_SEEDS = (0, 1, 2)


def main() -> None:
    """Run every experiment and print its table."""
    _show_parameters()
    _show_sizes()
    _show_picture_sizes()
    _show_stacks()
    _show_shifts()
    _show_circles()


def _convolution(size: int, channels: int, *choices: Any, **named: Any) -> tuple[keras.Model, catalog_pb2.Layer]:
    """Return a model of one convolution, and that as our catalog describes it."""
    model = keras.Sequential([keras.Input((size, size, channels)), keras.layers.Conv2D(*choices, **named)])
    return model, describe(trace(model))[-1]


def _show_parameters() -> None:
    rows: list[list[Cell]] = []
    for filters, kernel, channels in itertools.product((1, 25, 64), (1, 3, 5), (1, 3, 25)):
        model, layer = _convolution(8, channels, filters, kernel)
        formula = (kernel * kernel * channels + 1) * filters
        rows.append([filters, kernel, channels, formula, model.count_params(), layer.parameters])
    show("Parameters of a convolution", ("filters", "kernel", "channels", "formula", "Keras", "catalog"), rows)


def _show_sizes() -> None:
    rows: list[list[Cell]] = []
    for size, kernel in itertools.product(_SIZES, (3, 5)):
        same, halved, valid = (
            _convolution(size, 1, 4, kernel, padding=padding, strides=stride)[1].shape[1]
            for padding, stride in (("same", 1), ("same", 2), ("valid", 1))
        )
        rows.append([size, kernel, same, halved, valid])
    show("Height and width behind a convolution", ("before", "kernel", "same", "same, stride 2", "valid"), rows)


def _show_picture_sizes() -> None:
    rows: list[list[Cell]] = []
    for size in (8, 28, 224):
        layer = _convolution(size, 3, 25, 3, padding="same")[1]
        rows.append([f"{size} x {size}", layer.parameters, f"{layer.multiply_adds:,}"])
    show("One convolution, 25 filters of 3 x 3 x 3", ("picture", "parameters", "multiply-adds"), rows)


def _show_stacks() -> None:
    random = np.random.default_rng(0)
    inputs = random.normal(size=(1000, 8))
    rows: list[list[Cell]] = []
    for activation in ("linear", "relu", "tanh"):
        stack = keras.Sequential([keras.Input((8,), dtype="float64")])
        for units in (16, 16, 4):
            stack.add(keras.layers.Dense(units, activation, bias_initializer="random_normal", dtype="float64"))
        stack.layers[-1].activation = keras.activations.linear
        stack.set_weights([random.normal(size=weight.shape) for weight in stack.weights])
        matrix, bias = np.eye(8), np.zeros(8)
        # Layer by layer: a model as a whole would take its inputs as float32.
        values: Any = inputs
        for layer in stack.layers:
            kernel, offset = map(np.asarray, layer.get_weights())
            matrix, bias = matrix @ kernel, bias @ kernel + offset
            values = layer(values)
        expected = inputs @ matrix + bias
        difference = np.abs(np.asarray(values) - expected).max()
        rows.append([activation, f"{difference / np.abs(expected).max():.1e}"])
    show("Three dense layers, and the one layer of their multiplied matrices", ("between", "largest difference"), rows)


def _show_shifts() -> None:
    small = sklearn.datasets.load_digits().images
    large = data.load("digits").inputs[..., 0]
    rows = [
        _count_shift(f"{size}, {direction}", pictures, axis)
        for size, pictures in (("8 x 8", small), ("28 x 28", large))
        for direction, axis in (("right", 2), ("down", 1))
    ]
    heads = ("digits", "pixels changed", "share", "behind filter and pooling", "share", "fewer", "digits 70 % fewer")
    show("Values that change when a digit moves by one pixel", heads, rows)


def _count_shift(name: str, pictures: npt.NDArray[Any], axis: int) -> list[Cell]:
    # The margin lets no part of a digit move out of the picture.
    still = np.pad(pictures.astype(np.float32), ((0, 0), (1, 1), (1, 1)))
    moved = np.roll(still, 1, axis)
    before, after = still != moved, _filter_and_pool(still) != _filter_and_pool(moved)
    counts, pooled = before.sum(axis=(1, 2)), after.sum(axis=(1, 2))
    fewer = 1 - pooled.mean() / counts.mean()
    often = np.mean(pooled <= 0.3 * counts)
    shares = [f"{100 * share:.0f} %" for share in (before.mean(), after.mean(), fewer, often)]
    return [name, float(counts.mean()), shares[0], float(pooled.mean()), shares[1], shares[2], shares[3]]


def _filter_and_pool(pictures: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return how strong vertical edges are, the largest of each 2 x 2: (pictures, rows, columns)."""
    edge = np.array([[-1, 0, 1]] * 3, np.float32)[..., np.newaxis, np.newaxis]
    edges = keras.ops.relu(keras.ops.conv(pictures[..., np.newaxis], edge, padding="valid"))
    return np.asarray(keras.ops.max_pool(edges, 2))[..., 0]


def _show_circles() -> None:
    rows: list[list[Cell]] = []
    for name, network, options in (
        ("one linear layer", "mlp", {"units": []}),
        ("16, 16, linear between", "mlp", {"units": [16, 16], "activation": "linear"}),
        ("16, 16, relu between", "mlp", {"units": [16, 16]}),
        ("polynomial, degree 1, softmax", "polynomial", {"degree": 1}),
        ("polynomial, degree 1, sigmoid", "polynomial", {"degree": 1, "output": "sigmoid"}),
        ("polynomial, degree 2, softmax", "polynomial", {"degree": 2}),
        ("polynomial, degree 2, sigmoid", "polynomial", {"degree": 2, "output": "sigmoid"}),
    ):
        reached = [_train(Plan("circles", network, options, seed=seed)) for seed in _SEEDS]
        rows.append([name, f"{math.fsum(reached) / len(reached):.3f}", f"{min(reached):.3f}", f"{max(reached):.3f}"])
    show("Accuracy on held-out points of two circles", ("network", "mean of 3 seeds", "lowest", "highest"), rows)


def _train(plan: Plan) -> float:
    full = Plan(plan.data, plan.network, plan.options, seed=plan.seed, epochs=60, learning_rate=0.05)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        return fit(full, "circles", report=lambda _: None).record.training.test_accuracy


if __name__ == "__main__":
    main()
