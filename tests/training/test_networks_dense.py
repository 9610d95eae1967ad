"""The networks without a convolution."""

import itertools

import keras
import numpy as np
import pytest
from sklearn import preprocessing
from strata_training import networks
from strata_training.augmentation import make_layers
from strata_training.errors import Unsupported
from strata_training.networks.features import PolynomialFeatures, count_features


def build(name: str, shape: tuple[int, ...], classes: int = 3, **options: object) -> keras.Model:
    network = networks.find(name)
    return network.build(shape, classes, networks.make_options(network, options), [])


def names(model: keras.Model) -> list[str]:
    return [layer.name for layer in model.layers]


def test_an_mlp_for_points_has_no_layer_that_flattens_them() -> None:
    model = build("mlp", (2,))
    assert ([entry.name for entry in model.inputs], names(model)) == (["features"], ["dense1", "dense2", "predictions"])
    assert [layer.units for layer in model.layers] == [128, 64, 3]


def test_an_mlp_for_pictures_flattens_them() -> None:
    model = build("mlp", (4, 5, 3), units=(7,), activation="tanh", dropout=0.25)
    assert [entry.name for entry in model.inputs] == ["image"]
    assert names(model) == ["flatten", "dense1", "dropout", "predictions"]
    assert model.get_layer("dense1").kernel.shape == (60, 7)
    assert model.get_layer("dense1").activation is keras.activations.tanh
    assert model.get_layer("dropout").rate == 0.25


def test_points_are_not_augmented() -> None:
    network = networks.find("mlp")
    with pytest.raises(Unsupported, match="augmentation changes pictures: expected none for points"):
        network.build((2,), 2, networks.make_options(network, {}), make_layers(["flip"]))


@pytest.mark.parametrize(("inputs", "degree"), [(1, 1), (1, 4), (2, 2), (3, 3), (5, 2), (4, 1)])
def test_polynomial_features_are_those_of_scikit_learn(inputs: int, degree: int) -> None:
    rows = np.random.default_rng(0).normal(size=(6, inputs)).astype(np.float32)
    layer = PolynomialFeatures(degree)
    expected = preprocessing.PolynomialFeatures(degree, include_bias=False).fit_transform(rows)
    np.testing.assert_allclose(layer(rows), expected, rtol=1e-5)
    assert layer.compute_output_shape((None, inputs)) == (None, expected.shape[1])
    assert count_features(inputs, degree) == expected.shape[1]
    assert layer.count_params() == 0


def test_no_polynomial_feature_is_there_twice_or_constant() -> None:
    # Powers of distinct primes: two products are equal only if they have the same factors.
    primes = np.array([[2, 3, 5, 7]], np.float32)
    products = PolynomialFeatures(3)(primes).numpy()[0]
    assert len(set(products.tolist())) == len(products)
    assert 1 not in products


def test_the_polynomial_network_is_one_layer_that_learns() -> None:
    model = build("polynomial", (2,), classes=2, output="sigmoid", degree=3)
    assert names(model) == ["polynomial", "predictions"]
    assert model.get_layer("predictions").activation is keras.activations.sigmoid
    assert [weight.shape for weight in model.weights] == [(9, 2), (2,)]
    assert names(build("polynomial", (4, 4, 1))) == ["flatten", "polynomial", "predictions"]


def test_a_parabola_of_the_inputs_is_what_degree_two_adds() -> None:
    """Given the weights of x² + y² - 1 by hand, it tells the inside of a circle from the outside; degree 1 cannot."""
    model = build("polynomial", (2,), classes=2, output="sigmoid")
    # a, b, aa, ab, bb
    model.get_layer("predictions").set_weights([np.array([[0, 0], [0, 0], [1, 0], [0, 0], [1, 0]]), np.array([-1, 0])])
    points = np.array(list(itertools.product([-0.5, 0.0, 0.5, -1.5, 1.5], repeat=2)), np.float32)
    inside = (points**2).sum(axis=1) < 1
    np.testing.assert_array_equal(model(points).numpy()[:, 0] < 0.5, inside)


def test_too_many_polynomial_features_are_refused_with_their_number() -> None:
    with pytest.raises(Unsupported, match=r"784 values have 308,504 polynomial features up to degree 2: .* 200,000"):
        build("polynomial", (28, 28, 1))
    with pytest.raises(Unsupported, match="expected at most 200,000"):
        build("polynomial", (600, 600, 3), degree=16)


@pytest.mark.parametrize("degree", [0, -1, 17])
def test_the_layer_refuses_a_degree_that_is_none(degree: int) -> None:
    with pytest.raises(ValueError, match=f"degree from 1 to 16, received {degree}"):
        PolynomialFeatures(degree)


def test_the_layer_itself_refuses_more_features_than_fit_as_a_file_may_ask_for_them() -> None:
    with pytest.raises(ValueError, match="at most 200,000 polynomial features"):
        PolynomialFeatures(16)(np.zeros((1, 1000), np.float32))
