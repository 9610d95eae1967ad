"""The parts of a report: the figures in it are right."""

import math
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image
from strata_training import data
from strata_training.evaluation import Evaluation
from strata_training.history import Epoch
from strata_training.layers import count_multiply_adds
from strata_training.networks.features import PolynomialFeatures
from strata_training.preprocessing import Preprocessing
from strata_training.records import Figures, Plan, Record
from strata_training.report.boundary import load_points
from strata_training.report.confusion import draw_confusion, list_pairs, make_rows
from strata_training.report.curves import draw_curves
from strata_training.report.feature_maps import choose_layers
from strata_training.report.filters import show_filters
from strata_training.report.formulas import calculate_multiply_adds, calculate_parameters, make_layer_table
from strata_training.report.samples import read_samples
from strata_training.report.stack import take_apart
from strata_training.report.wording import make_labels
from training.reports import make_network

layers = keras.layers


def evaluate_formula(text: str) -> int:
    return int(eval(text.replace("x", "*"), {"__builtins__": {}}))  # noqa: S307 - made of our own numbers


@pytest.mark.parametrize(
    "layer",
    [
        layers.Conv2D(25, 3),
        layers.Conv2D(7, (5, 2), strides=2, use_bias=False),
        layers.Conv2D(8, 3, groups=2),
        layers.DepthwiseConv2D(3),
        layers.DepthwiseConv2D(3, depth_multiplier=3, use_bias=False),
        layers.SeparableConv2D(6, 3, depth_multiplier=2),
        layers.SeparableConv2D(6, 3, use_bias=False),
        layers.Dense(11),
        layers.Dense(11, use_bias=False),
        layers.BatchNormalization(),
        layers.BatchNormalization(scale=False),
        layers.LayerNormalization(),
        layers.Dropout(0.5),
    ],
)
def test_a_formula_comes_to_what_keras_counts(layer: keras.layers.Layer) -> None:
    shape = layer(keras.Input((12, 10, 4))).shape
    assert evaluate_formula(calculate_parameters(layer) or "0") == layer.count_params()
    assert evaluate_formula(calculate_multiply_adds(layer, shape) or "0") == count_multiply_adds(layer, shape)


def test_the_table_shows_every_layer_and_sums_what_keras_sums() -> None:
    model = make_network(10)
    table = make_layer_table(take_apart(model))
    assert [row.name for row in table.rows] == ["image", *(layer.name for layer in model.layers)]
    assert table.parameters == model.count_params()
    rows = {row.name: row for row in table.rows}
    assert rows["depthwise"].parameters == "(3 x 3 + 1) x 6 x 2 = 120"
    assert rows["depthwise"].multiply_adds == "4 x 4 x 12 x 3 x 3 = 1,728"
    assert rows["separable"].parameters == "3 x 3 x 12 x 3 + (36 + 1) x 5 = 509"
    assert rows["separable"].multiply_adds == "4 x 4 x (3 x 3 x 36 + 36 x 5) = 8,064"
    assert rows["norm"].parameters == "4 x 6 = 24"


def test_polynomial_features_are_counted_by_their_formula() -> None:
    model = keras.Sequential([keras.Input((3,)), PolynomialFeatures(4), layers.Dense(2)])
    row = make_layer_table(take_apart(model)).rows[1]
    assert row.note.endswith(": (3 + 4)! / (3! x 4!) - 1 = 34")
    assert math.factorial(7) // (math.factorial(3) * math.factorial(4)) - 1 == 34


def test_a_layer_that_is_called_twice_counts_once() -> None:
    image, shared = keras.Input((4,)), layers.Dense(4, name="shared")
    table = make_layer_table(take_apart(keras.Model(image, shared(shared(image)))))
    assert [row.parameters for row in table.rows[1:]] == ["(4 + 1) x 4 = 20", "0"]
    assert table.parameters == 20
    assert "shares weights" in table.rows[2].note


def test_recall_and_precision_are_those_of_the_matrix_and_unknown_without_examples() -> None:
    counts = np.array([[8, 2, 0], [1, 3, 0], [0, 0, 0]])
    rows = make_rows(counts, ["a", "b", "c"], {"a": 50, "b": 20, "c": 1})
    assert [(row.recall, row.precision) for row in rows] == [(0.8, 8 / 9), (0.75, 0.6), (None, None)]
    assert [row.examples for row in rows] == [50, 20, 1]
    assert [(pair.true, pair.taken_for, pair.count, pair.share) for pair in list_pairs(counts, "abc")] == [
        ("a", "b", 2, 0.2),
        ("b", "a", 1, 0.25),
    ]


@pytest.mark.parametrize("classes", [2, 20, 21, 100])
def test_a_matrix_of_any_size_is_drawn(classes: int) -> None:
    picture = draw_confusion(np.eye(classes, dtype=np.int64) * 3, ["$"] * classes)
    assert picture.png.startswith(b"\x89PNG")
    assert max(picture.size) < 1100


def test_a_name_is_drawn_only_where_it_can_be_and_is_the_only_one() -> None:
    assert make_labels(["cat", "猫", "a\tb", "\u202ex", "$x$", " ", "q" * 30, "q" * 31, "Ärzte"]) == [
        "cat", "#1", "#2", "#3", "$x$", "#5", "#6", "#7", "Ärzte",
    ]  # fmt: skip


@pytest.mark.parametrize("losses", [[0.5], [2.0, float("nan"), 1.0], [float("inf"), 1.0]])
def test_curves_are_drawn_of_one_epoch_and_of_losses_that_are_no_numbers(losses: list[float]) -> None:
    epochs = [Epoch(number, 1, 0.001, 0.5, loss, 0.5, loss) for number, loss in enumerate(losses, 1)]
    assert "best epoch is 1" in draw_curves(epochs, 1).alt


def test_a_low_a_middle_and_a_high_layer_are_chosen_as_far_as_there_are_any() -> None:
    chosen = choose_layers(take_apart(make_network(2)).steps)
    assert {height: step.name for height, step in chosen.items()} == {
        "low": "conv",
        "middle": "depthwise",
        "high": "pool",
    }
    flat = keras.Sequential([keras.Input((8, 8, 1)), layers.Rescaling(2.0), layers.Flatten(), layers.Dense(2)])
    assert choose_layers(take_apart(flat).steps) == {}


def test_first_weights_are_pictures_where_they_belong_to_pixels() -> None:
    pixels = keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(70, name="first")])
    filters = show_filters(take_apart(pixels), None)
    assert filters is not None
    assert (filters.layer, filters.is_dense, filters.shown, filters.count) == ("first", True, 64, 70)
    points = keras.Sequential([keras.Input((64,)), layers.Dense(2)])
    assert show_filters(take_apart(points), None) is None
    products = keras.Sequential([keras.Input((2, 2, 1)), layers.Flatten(), PolynomialFeatures(), layers.Dense(2)])
    assert show_filters(take_apart(products), None) is None


def test_samples_come_back_in_the_order_of_colors_that_the_network_takes(tmp_path: Path) -> None:
    red = np.zeros((2, 2, 3), np.uint8)
    red[..., 0] = 255
    Image.fromarray(red).save(tmp_path / "_1.png")  # of a class whose name cannot be a file's
    (tmp_path / "b.png").write_bytes(b"damaged")
    (sample,) = read_samples(tmp_path, ["b", "a/a"], Preprocessing("image", "COLOR_BGR"), (2, 2, 3))
    assert sample.label == 1
    assert sample.pixels[0, 0].tolist() == [0, 0, 255]


def test_points_are_found_again_only_where_the_data_are_the_same() -> None:
    circles = data.load("circles")
    held_out = data.split(circles, 3).test
    scores = np.eye(2, dtype=np.float32)[circles.labels[held_out]]
    evaluation = Evaluation(circles.labels[held_out], scores, np.array([], np.intp), circles.inputs[:0])
    points = load_points(record_of("circles", circles.digest), evaluation)
    assert points is not None
    assert np.array_equal(points, circles.inputs[held_out])
    assert load_points(record_of("circles", "0" * 64), evaluation) is None
    assert load_points(record_of("gone.npz", circles.digest), evaluation) is None


def record_of(source: str, digest: str) -> Record:
    figures = Figures("circles", digest, 1, 1, {"outer": 1, "inner": 1}, (), 1, 1, 1, 1.0, 0.0)
    return Record(Plan(source, "polynomial", seed=3), "polynomial", figures, ("outer", "inner"), None, {})
