"""Models within models, and layers that are called more than once."""

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from strata.v1 import catalog_pb2, tensor_pb2
from strata_training import export, parity
from strata_training.conversion import convert
from strata_training.errors import Unsupported
from strata_training.networks import GENERAL_TOLERANCE
from strata_training.sources import Source, open_source
from strata_training.trace import trace
from training.graphs import Array, bypass, names_of, run

layers = keras.layers


@pytest.fixture(autouse=True)
def seed() -> None:
    keras.utils.set_random_seed(0)


def draw(*shape: int) -> Array:
    return np.random.default_rng(1).random(shape, np.float32)


def make_stem() -> keras.Model:
    """Return a nested model that holds another, which nobody gave an Input."""
    pixels = keras.Input((8, 8, 3), name="pixels")
    scaled = layers.Rescaling(2.0, offset=-1.0, name="scale")(pixels)
    block = keras.Sequential([layers.Conv2D(4, 3, name="conv"), layers.BatchNormalization(name="norm")], name="block")
    return keras.Model(pixels, layers.ReLU(name="relu")(block(scaled)), name="stem")


def make_nested() -> keras.Model:
    # A layer has the name of one in the nested model: Keras allows that, each model has its own names.
    head = [layers.Conv2D(2, 3, name="conv"), layers.Flatten(name="flatten"), layers.Dense(3, name="scores")]
    return keras.Sequential([keras.Input((8, 8, 3), name="image"), make_stem(), *head], name="whole")


def make_twins() -> keras.Model:
    """Return a model in which a layer is called twice; Keras runs the later call first."""
    left, right = keras.Input((5,), name="left"), keras.Input((5,), name="right")
    shared = layers.Dense(4, activation="tanh", name="shared")
    first, second = shared(left), shared(right)
    longer = layers.Dense(4, name="longer")(layers.ReLU(name="relu")(second))
    return keras.Model([left, right], layers.Subtract(name="minus")([longer, first]))


def make_towers() -> keras.Model:
    """Return a model in which a nested model is called twice."""
    left, right = keras.Input((6, 6, 1), name="left"), keras.Input((6, 6, 1), name="right")
    tower = keras.Sequential([layers.Conv2D(8, 3, name="conv"), layers.Flatten(name="flatten")], name="tower")
    return keras.Model([left, right], layers.Subtract(name="minus")([tower(left), tower(right)]))


def make_chain() -> keras.Model:
    """Return a model in which a layer takes what it gave, three times."""
    entry = keras.Input((4, 4, 3), name="image")
    shared = layers.Conv2D(3, 1, name="shared")
    return keras.Model(entry, layers.Flatten(name="flatten")(shared(shared(shared(entry)))))


MAKERS = [make_nested, make_twins, make_towers, make_chain]


def describe(model: keras.Model) -> dict[str, catalog_pb2.Layer]:
    """Export a model, which compares each layer, and return what the manifest says of each."""
    candidate = export.convert_source(Source(model))
    parity.require(candidate.comparison.parity)
    assert [row.layer for row in candidate.comparison.parity] == names_of(candidate.model.graph.output)
    return {layer.name: layer for layer in candidate.comparison.layers}


def serve(model: keras.Model, **rows: Array) -> dict[str, Array]:
    return run(convert(trace(model)), rows)


def check_equal(received: Array, expected: Any) -> None:
    # float32, sums of at most a hundred terms.
    np.testing.assert_allclose(received, np.asarray(expected), rtol=1e-5, atol=1e-6)


def test_the_layers_of_a_nested_model_are_listed_with_its_name_before_theirs() -> None:
    assert [(layer.name, layer.kind) for layer in describe(make_nested()).values()] == [
        ("image", "InputLayer"),
        ("stem/scale", "Rescaling"),
        ("stem/block/conv", "Conv2D"),
        ("stem/block/norm", "BatchNormalization"),
        ("stem/block", "Sequential"),
        ("stem/relu", "ReLU"),
        ("stem", "Functional"),
        ("conv", "Conv2D"),
        ("flatten", "Flatten"),
        ("scores", "Dense"),
    ]


def test_each_activation_within_a_nested_model_is_what_keras_computes() -> None:
    model, image = make_nested(), draw(2, 8, 8, 3)
    stem = model.get_layer("stem")
    block = stem.get_layer("block")
    # A convolution that nobody trained gives its norm a mean that is no 0 and a deviation that is no 1.
    block.get_layer("norm").set_weights([np.full(4, value, np.float32) for value in (1.5, 0.25, 0.1, 0.5)])
    served = serve(model, image=image)
    scaled = image * 2 - 1
    convolved = block.get_layer("conv")(scaled)
    normed = block.get_layer("norm")(convolved, training=False)
    check_equal(served["stem/scale"], scaled)
    check_equal(served["stem/block/conv"], convolved)
    check_equal(served["stem/block/norm"], normed)
    check_equal(served["stem/block"], block(scaled))
    check_equal(served["stem/relu"], np.maximum(normed, 0))
    check_equal(served["stem"], stem(image))
    check_equal(served["scores"], model(image))


def test_a_layer_that_is_called_twice_has_a_name_for_each_call_in_the_order_in_which_they_were_built() -> None:
    model, left, right = make_twins(), draw(2, 5), -draw(2, 5)
    served = serve(model, left=left, right=right)
    assert list(served) == ["shared", "shared:1", "relu", "longer", "minus"]
    shared = model.get_layer("shared")
    check_equal(served["shared"], shared(left))
    check_equal(served["shared:1"], shared(right))
    check_equal(served["minus"], model([left, right]))


def test_a_layer_may_take_its_own_activation() -> None:
    model, image = make_chain(), draw(2, 4, 4, 3)
    served, shared = serve(model, image=image), model.get_layer("shared")
    assert list(served) == ["shared", "shared:1", "shared:2", "flatten"]
    check_equal(served["shared:1"], shared(shared(image)))
    check_equal(served["shared:2"], shared(shared(shared(image))))


def test_a_nested_model_that_is_called_twice_has_a_name_for_each_call() -> None:
    model, left, right = make_towers(), draw(2, 6, 6, 1), -draw(2, 6, 6, 1)
    served, tower = serve(model, left=left, right=right), model.get_layer("tower")
    inner = ["conv", "flatten"]
    assert set(served) == {
        *(f"tower/{n}" for n in inner),
        "tower",
        *(f"tower:1/{n}" for n in inner),
        "tower:1",
        "minus",
    }
    check_equal(served["tower"], tower(left))
    check_equal(served["tower:1"], tower(right))
    check_equal(served["tower:1/conv"], tower.get_layer("conv")(right))


@pytest.mark.parametrize("make", MAKERS)
def test_each_weight_is_counted_once(make: Any) -> None:
    model = make()
    described = describe(model)
    assert sum(layer.parameters for layer in described.values()) == model.count_params() > 0
    # A later call computes, but has nothing of its own.
    assert not any(layer.parameters for layer in described.values() if ":" in layer.name)
    assert all(
        layer.multiply_adds == described[layer.name.replace(":1", "")].multiply_adds for layer in described.values()
    )


def test_the_output_of_a_nested_model_has_no_figures_of_its_own() -> None:
    described = describe(make_nested())
    assert (described["stem"].parameters, described["stem"].multiply_adds) == (0, 0)
    assert described["stem"].depth == described["stem/relu"].depth + 1
    assert described["stem/block/conv"].multiply_adds == 6 * 6 * 4 * 3 * 3 * 3


@pytest.mark.parametrize("make", MAKERS)
def test_a_file_gives_the_same_names_in_the_same_order(make: Any, tmp_path: Path) -> None:
    model = make()
    model.save(tmp_path / "model.keras")
    loaded = trace(open_source(str(tmp_path / "model.keras")).model)
    assert [(s.name, s.kind, s.sources) for s in loaded.steps] == [
        (s.name, s.kind, s.sources) for s in trace(model).steps
    ]


def test_the_weights_of_a_layer_stand_in_the_file_once() -> None:
    for make, weights in [(make_twins, 5 * 4), (make_towers, 3 * 3 * 8), (make_chain, 3 * 3)]:
        constants = convert(trace(make())).graph.initializer
        assert sum(np.prod(constant.dims) == weights for constant in constants) == 1


def test_layers_that_merely_hold_the_same_numbers_keep_their_own() -> None:
    value = entry = keras.Input((4,), name="image")
    for name in ("one", "two"):
        layer = layers.Dense(4, kernel_initializer="zeros", use_bias=False, name=name)
        value = layer(layer(value))
    graph = convert(trace(keras.Model(entry, value))).graph
    assert sum(list(constant.dims) == [4, 4] for constant in graph.initializer) == 2


@pytest.mark.parametrize("make", [make_nested, make_chain])
def test_all_that_follows_a_layer_is_computed_from_it_alone(make: Any) -> None:
    graph = convert(trace(make())).graph
    order = names_of(graph.output)
    for place, layer in enumerate(order):
        assert bypass(graph, layer) == set(order[:place])


def test_a_nested_model_may_be_what_the_model_answers() -> None:
    entry = keras.Input((8, 8, 3), name="image")
    stem = make_stem()
    described = describe(keras.Model(entry, stem(layers.ReLU(name="before")(entry))))
    assert [layer.name for layer in described.values() if layer.default_exit] == ["stem"]


def test_a_nested_model_with_two_outputs_has_the_names_of_its_layers_alone() -> None:
    pixels, entry = keras.Input((5,), name="pixels"), keras.Input((5,), name="image")
    answers = [layers.Dense(2, name="wide")(pixels), layers.Dense(1, name="narrow")(pixels)]
    wide, narrow = keras.Model(pixels, answers, name="both")(entry)
    described = describe(keras.Model(entry, [layers.ReLU(name="relu")(narrow), wide]))
    assert {layer.name for layer in described.values()} == {"image", "both/wide", "both/narrow", "relu"}
    assert {layer.name for layer in described.values() if layer.default_exit} == {"relu", "both/wide"}


@pytest.mark.parametrize("inputs", [list, dict])
@pytest.mark.parametrize("call", [list, dict])
def test_a_nested_model_takes_its_inputs_by_order_or_by_name(inputs: type, call: type) -> None:
    # Keras sorts a dictionary by its keys: the order of these is that of the alphabet only where it must be.
    names = ["one", "two"] if (inputs, call) == (dict, list) else ["two", "one"]
    inside = {name: keras.Input((3,), name=name) for name in names}
    minus = layers.Subtract(name="minus")([inside["one"], inside["two"]])
    inner = keras.Model(inside if inputs is dict else list(inside.values()), minus, name="inner")
    outside = {name: keras.Input((3,), name=f"my_{name}") for name in names}
    model = keras.Model(list(outside.values()), inner(outside if call is dict else list(outside.values())))
    served = serve(model, my_one=np.full((1, 3), 5, np.float32), my_two=draw(1, 3))
    check_equal(served["inner"], 5 - draw(1, 3))


def call_with_more(inputs: type) -> keras.Model:
    inside = {name: keras.Input((3,), name=name) for name in ("two", "one")}
    minus = layers.Subtract(name="minus")([inside["one"], inside["two"]])
    inner = keras.Model(inside if inputs is dict else list(inside.values()), minus, name="inner")
    outside = {name: keras.Input((3,), name=f"my_{name}") for name in ("more", "two", "one")}
    return keras.Model(list(outside.values()), inner(outside))


def test_a_nested_model_with_a_list_of_inputs_takes_of_a_dictionary_what_it_knows() -> None:
    rows = {"my_one": np.full((1, 3), 5, np.float32), "my_two": draw(1, 3), "my_more": draw(1, 3)}
    check_equal(serve(call_with_more(list), **rows)["inner"], 5 - draw(1, 3))


@pytest.mark.filterwarnings("ignore:The structure of `inputs` doesn't match:UserWarning")
def test_a_nested_model_with_a_dictionary_of_inputs_that_is_given_more_is_refused() -> None:
    # Keras gives the wrong tensors to the inputs then.
    with pytest.raises(Unsupported, match="'inner' is a model: expected a tensor for each of its 2 inputs, received 3"):
        trace(call_with_more(dict))


def test_a_nested_model_whose_input_is_its_output_passes_it_on() -> None:
    pixels, entry = keras.Input((4,), name="pixels"), keras.Input((4,), name="image")
    model = keras.Model(entry, layers.ReLU(name="relu")(keras.Model(pixels, pixels, name="nothing")(entry)))
    assert list(describe(model)) == ["image", "nothing", "relu"]
    check_equal(serve(model, image=-draw(1, 4))["nothing"], -draw(1, 4))


def test_a_nested_model_that_takes_another_type_lists_its_input() -> None:
    entry = keras.Input((2, 2, 1), dtype="uint8", name="image")
    pixels = keras.Input((2, 2, 1), name="pixels")
    inner = keras.Model(pixels, layers.Conv2D(1, 1, kernel_initializer="ones", name="conv")(pixels), name="inner")
    model = keras.Model(entry, inner(entry))
    described = describe(model)
    assert list(described) == ["image", "inner/pixels", "inner/conv", "inner"]
    assert described["inner/pixels"].kind == "InputLayer"
    assert described["inner/pixels"].data_type == tensor_pb2.DATA_TYPE_FLOAT32
    assert serve(model, image=np.full((1, 2, 2, 1), 200, np.uint8))["inner"].max() == 200


def test_what_leaves_a_nested_model_keeps_its_type() -> None:
    entry = keras.Input((4,), name="image")
    half = [keras.Input((4,)), layers.Dense(3, dtype="mixed_float16", name="half")]
    steps = trace(keras.Model(entry, keras.Sequential(half, name="inner")(entry))).steps
    assert [(step.name, step.tensor.dtype) for step in steps] == [("inner/half", "float16"), ("inner", "float16")]


def test_preprocessing_within_a_nested_model_is_served() -> None:
    normalize = layers.Normalization(name="normalize")
    normalize.adapt(np.array([[1.0, 10.0], [3.0, 30.0]], np.float32))
    steps = keras.Sequential([layers.Rescaling(0.5, name="scale"), normalize], name="steps")
    model = keras.Sequential([keras.Input((2,), name="image"), steps, layers.Dense(2, name="scores")])
    parameters = describe(model)["steps/normalize"].parameters
    assert parameters == normalize.count_params()
    check_equal(serve(model, image=np.array([[6, 40]], np.float32))["steps"], [[1.0, 0.0]])


def test_what_a_layer_does_in_training_is_not_exported_even_if_it_was_called_so() -> None:
    # So does `predict`: what the model was built with counts for nothing there.
    entry = keras.Input((4,), name="image")
    inner = keras.Sequential([layers.Dropout(0.5, name="dropout")], name="inner")
    inside = inner(layers.Dropout(0.5, name="before")(entry, training=True), training=True)
    model, image = keras.Model(entry, inside), draw(3, 4)
    check_equal(model.predict(image, verbose=0), image)
    check_equal(serve(model, image=image)["inner"], image)
    assert list(describe(model)) == ["image", "before", "inner/dropout", "inner"]


class Doubling(keras.Model):  # type: ignore[misc]  # Keras ships no types
    """A functional model that computes something else than its graph."""

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        return 2 * super().call(inputs, training=training, mask=mask)


def make_doubling() -> keras.Model:
    pixels = keras.Input((4,), name="pixels")
    return Doubling(pixels, layers.Dense(3, name="inside")(pixels), name="doubling")


def test_a_model_with_a_call_of_its_own_is_one_layer_of_another() -> None:
    entry, doubling = keras.Input((4,), name="image"), make_doubling()
    model = keras.Model(entry, layers.ReLU(name="relu")(doubling(entry)))
    described = describe(model)
    assert [(layer.name, layer.kind) for layer in described.values()][1:] == [
        ("doubling", "Doubling"),
        ("relu", "ReLU"),
    ]
    assert described["doubling"].parameters == 4 * 3 + 3
    check_equal(serve(model, image=draw(2, 4))["doubling"], doubling(draw(2, 4)))


def test_a_model_with_a_call_of_its_own_cannot_be_taken_apart() -> None:
    with pytest.raises(Unsupported, match=r"Doubling is not a graph of layers: expected .* no `call` of its own"):
        trace(make_doubling())


@pytest.mark.parametrize("name", ["stem/relu", "relu:1", "a b"])
def test_a_layer_cannot_take_a_name_that_is_built_here(name: str) -> None:
    model = keras.Sequential([keras.Input((8, 8, 3), name="image"), layers.ReLU(name="before"), make_stem()])
    model.get_layer("before").name = name  # Keras refuses a '/' where a layer is made
    with pytest.raises(Unsupported, match=f"bad name of a layer: .* received '{name}'"):
        trace(model)


def test_a_bad_name_within_a_nested_model_is_refused() -> None:
    inner = keras.Sequential([layers.ReLU(name="a b")], name="inner")
    with pytest.raises(Unsupported, match=r"bad name of a layer: .* received 'a b'"):
        trace(keras.Sequential([keras.Input((4,), name="image"), inner]))


def test_a_layer_with_two_outputs_within_a_nested_model_is_refused_by_its_whole_name() -> None:
    rows, entry = keras.Input((6, 3), name="rows"), keras.Input((6, 3), name="image")
    inner = keras.Model(rows, layers.LSTM(4, return_state=True, name="lstm")(rows)[0], name="inner")
    with pytest.raises(Unsupported, match="layer 'inner/lstm' has 3 outputs"):
        trace(keras.Model(entry, inner(entry)))


def test_a_nested_model_that_is_called_with_a_mask_is_refused() -> None:
    entry, mask = keras.Input((6, 3), name="image"), keras.Input((6,), dtype="bool", name="mask")
    inner = keras.Sequential([keras.Input((6, 3)), layers.LSTM(4)], name="inner")
    inner.supports_masking = True  # else Keras warns and goes on without
    with pytest.raises(Unsupported, match="layer 'inner' is a model that is called with a mask"):
        trace(keras.Model([entry, mask], inner(entry, mask=mask)))


def test_a_nested_model_that_adds_a_dimension_is_refused() -> None:
    entry, pixels = keras.Input((6,), name="image"), keras.Input((6, 1), name="pixels")
    inner = keras.Model(pixels, layers.ReLU(name="relu")(pixels), name="inner")
    with pytest.raises(
        Unsupported, match=r"'inner/pixels': expected a value of shape \(None, 6, 1\), received \(None, 6\)"
    ):
        trace(keras.Model(entry, inner(entry)))


def test_a_model_that_is_taken_apart_wrongly_misses_parity_at_its_exit() -> None:
    network = trace(make_twins())
    *before, minus = network.steps
    turned = dataclasses.replace(network, steps=(*before, dataclasses.replace(minus, sources=minus.sources[::-1])))
    # The steps agree with one another, but the model as a whole knows better.
    rows = parity.measure(turned, convert(turned), GENERAL_TOLERANCE)
    assert [row.layer for row in rows if not parity.holds(row)] == ["minus"]
