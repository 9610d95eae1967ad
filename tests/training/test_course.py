"""What a CNN course claims, on real layers, digits and runs; docs/course.md has the figures."""

import itertools
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
import sklearn.datasets
from strata.v1 import catalog_pb2
from strata_training import data, fit
from strata_training.layers import describe
from strata_training.records import Plan
from strata_training.trace import trace

Pictures = npt.NDArray[np.float64]


def convolve(size: tuple[int, int], channels: int, **options: Any) -> tuple[keras.Model, catalog_pb2.Layer]:
    model = keras.Sequential([keras.Input((*size, channels)), keras.layers.Conv2D(**options)])
    return model, describe(trace(model))[-1]


@pytest.mark.parametrize(("filters", "kernel", "channels"), list(itertools.product((1, 25, 64), (1, 3, 5), (1, 3, 25))))
def test_a_convolution_has_the_parameters_of_the_formula(filters: int, kernel: int, channels: int) -> None:
    model, layer = convolve((8, 8), channels, filters=filters, kernel_size=kernel)
    assert model.count_params() == layer.parameters == (kernel * kernel * channels + 1) * filters


@pytest.mark.parametrize(
    ("size", "halved"), [((7, 8), (4, 4)), ((8, 7), (4, 4)), ((27, 28), (14, 14)), ((5, 32), (3, 16))]
)
@pytest.mark.parametrize("kernel", [3, 5])
def test_same_keeps_the_size_stride_2_halves_it_and_valid_takes_the_kernel_away(
    size: tuple[int, int], halved: tuple[int, int], kernel: int
) -> None:
    def place(**options: Any) -> tuple[int, ...]:
        model, layer = convolve(size, 1, filters=2, kernel_size=kernel, **options)
        computed = model(np.zeros((1, *size, 1), np.float32)).shape
        assert tuple(layer.shape[1:]) == tuple(computed[1:])
        return tuple(computed[1:3])

    assert place(padding="same") == size
    assert place(padding="same", strides=2) == halved
    assert place(padding="valid") == tuple(length - (kernel - 1) for length in size)


def test_parameters_do_not_depend_on_the_size_of_the_picture_but_multiply_adds_do() -> None:
    layers = [convolve((size, size), 3, filters=25, kernel_size=3, padding="same")[1] for size in (8, 28, 224)]
    assert [layer.parameters for layer in layers] == [700] * 3
    assert [layer.multiply_adds for layer in layers] == [size**2 * 27 * 25 for size in (8, 28, 224)]


def difference_from_one_layer(activation: str) -> float:
    """Return the largest difference of a stack from the product of its matrices, as a share of the largest value."""
    random = np.random.default_rng(0)
    stack = keras.Sequential(
        [
            keras.Input((8,), dtype="float64"),
            keras.layers.Dense(16, activation, dtype="float64"),
            keras.layers.Dense(4, dtype="float64"),
        ]
    )
    first, first_bias, second, second_bias = (random.normal(size=weight.shape) for weight in stack.weights)
    stack.set_weights([first, first_bias, second, second_bias])
    inputs = random.normal(size=(200, 8))
    expected = inputs @ (first @ second) + (first_bias @ second + second_bias)
    # Layer by layer: a model as a whole would take its inputs as float32.
    values = inputs
    for layer in stack.layers:
        values = layer(values)
    return float(np.abs(np.asarray(values) - expected).max() / np.abs(expected).max())


def test_stacked_linear_layers_are_one_and_an_activation_breaks_that() -> None:
    assert difference_from_one_layer("linear") < 1e-14  # float64 rounds at 2e-16; 24 products are summed
    assert difference_from_one_layer("relu") > 0.1
    assert difference_from_one_layer("tanh") > 0.1


def pool_vertical_edges(pictures: Pictures) -> Pictures:
    """Filter with the columns -1, 0, 1, leave negative values out, take the largest of each 2 x 2."""
    columns = pictures[:, :, 2:] - pictures[:, :, :-2]
    edges = np.maximum(columns[:, :-2] + columns[:, 1:-1] + columns[:, 2:], 0)
    count, height, width = edges.shape
    pooled: Pictures = edges.reshape(count, height // 2, 2, width // 2, 2).max(axis=(2, 4))
    return pooled


@pytest.mark.parametrize("size", [8, 28])
def test_a_shift_by_one_pixel_changes_far_fewer_values_behind_filter_and_pooling(size: int) -> None:
    digits = sklearn.datasets.load_digits().images if size == 8 else data.load("digits").inputs[..., 0]
    # The margin lets no part of a digit move out.
    still = np.pad(digits.astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    moved = np.roll(still, 1, axis=2)
    before = still != moved
    after = pool_vertical_edges(still) != pool_vertical_edges(moved)
    assert after.sum() > 0
    assert after.sum() < 0.3 * before.sum()  # the course counts 38 before and 12 after, 68 % fewer
    # There are fewer because there are fewer values: of those that there are, no smaller share changes.
    assert after.mean() > before.mean()


def train(run: str, network: str, **options: object) -> float:
    plan = Plan("circles", network, options, epochs=60, learning_rate=0.05)
    return fit.fit(plan, run, report=lambda _: None).record.training.test_accuracy


@pytest.mark.usefixtures("empty_folder")
def test_a_linear_stack_separates_circles_no_better_than_one_layer_and_relu_does() -> None:
    assert train("one", "mlp", units=[]) < 0.7
    assert train("linear", "mlp", units=[16, 16], activation="linear") < 0.7
    assert train("relu", "mlp", units=[16, 16], activation="relu") > 0.95


@pytest.mark.usefixtures("empty_folder")
@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_one_polynomial_layer_separates_circles_that_a_linear_one_cannot(output: str) -> None:
    assert train("degree1", "polynomial", degree=1, output=output) < 0.7
    assert train("degree2", "polynomial", degree=2, output=output) > 0.95
