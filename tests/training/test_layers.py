"""Layers that the CNN has not: their counts, and the models that cannot be taken apart."""

import keras
import pytest
from strata_training.errors import Unsupported
from strata_training.layers import describe
from strata_training.trace import trace

layers = keras.layers


def image() -> keras.KerasTensor:
    return keras.Input((8, 8, 3), name="image")


def test_other_convolutions_are_counted_by_their_kernels(small_model: keras.Model) -> None:
    counted = {layer.name: layer.multiply_adds for layer in describe(trace(small_model))}
    assert counted == {
        "image": 0,
        "rescaling": 0,
        "separable": 6 * 6 * (3 * 3 * 3 + 3 * 4),
        "depthwise": 4 * 4 * 4 * 3 * 3,
        "norm": 0,
        "average": 0,
        "strided": 3 * 3 * 6 * 3 * 3 * 3,
        "flatten": 0,
        "both": 0,
        "scores": (4 + 3 * 3 * 6) * 5,
    }


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_a_grouped_convolution_is_counted_in_either_layout(data_format: str) -> None:
    shape = (8, 10, 4) if data_format == "channels_last" else (4, 8, 10)
    entry = keras.Input(shape, name="image")
    convolution = layers.Conv2D(6, 3, padding="same", groups=2, data_format=data_format)
    described = describe(trace(keras.Model(entry, convolution(entry))))
    assert described[-1].multiply_adds == 8 * 10 * 6 * 3 * 3 * (4 // 2)


def test_a_dense_layer_is_counted_at_each_place_it_is_applied_to() -> None:
    entry = image()
    assert describe(trace(keras.Model(entry, layers.Dense(5)(entry))))[-1].multiply_adds == 8 * 8 * 3 * 5


def test_the_depth_is_the_longest_way_and_orders_the_catalog(small_model: keras.Model) -> None:
    depths = {layer.name: layer.depth for layer in describe(trace(small_model))}
    assert list(depths.values()) == sorted(depths.values())
    assert (depths["strided"], depths["average"], depths["both"], depths["scores"]) == (1, 5, 6, 7)


def test_each_output_of_a_model_is_a_default_exit(small_model: keras.Model) -> None:
    assert {layer.name for layer in describe(trace(small_model)) if layer.default_exit} == {"average", "scores"}


def test_an_input_has_the_name_of_its_layer_also_when_nobody_named_it() -> None:
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    # The tensor itself is called by a count that the next process will not repeat.
    assert trace(model).inputs[0].name.startswith("input_layer")


def test_inputs_that_nobody_named_have_the_names_of_their_layers_however_far_they_are_from_the_output() -> None:
    near, far = keras.Input((4,)), keras.Input((4,))
    model = keras.Model([near, far], layers.Add()([near, layers.ReLU()(layers.ReLU()(far))]))
    assert all(entry.name.startswith("input_layer") for entry in trace(model).inputs)


def test_an_open_size_other_than_the_batch_is_refused() -> None:
    entry = keras.Input((None, None, 3), name="image")
    with pytest.raises(Unsupported, match=r"'image': expected a shape in which the batch alone is open"):
        trace(keras.Model(entry, layers.Conv2D(2, 3)(entry)))


def test_a_layer_with_two_outputs_is_refused() -> None:
    entry = keras.Input((6, 3), name="image")
    outputs = layers.LSTM(4, return_state=True, name="lstm")(entry)
    with pytest.raises(Unsupported, match=r"layer 'lstm' has 3 outputs"):
        trace(keras.Model(entry, outputs[0]))


def test_a_model_that_is_no_graph_of_layers_is_refused() -> None:
    with pytest.raises(Unsupported, match=r"Sequential is not a graph of layers"):
        trace(keras.Sequential([layers.Dense(3)]))


@pytest.mark.parametrize("name", ["a b", "a\x1b[2J", "é", "_first", "a:0"])
def test_a_name_that_tensorflow_cannot_take_is_refused(name: str) -> None:
    entry = image()
    with pytest.raises(Unsupported, match=r"bad name of a layer: expected .*, received "):
        trace(keras.Model(entry, layers.Flatten(name=name)(entry)))


def test_a_model_without_a_layer_is_refused() -> None:
    entry = image()
    with pytest.raises(Unsupported, match="at least one layer"):
        trace(keras.Model(entry, entry))
