"""What a network is told, and what is wrong with it."""

from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import Any

import keras
import pytest
from strata_training import networks
from strata_training.errors import NotFound, Unsupported

VOCABULARY = {
    "filters",
    "kernel",
    "stride",
    "padding",
    "activation",
    "units",
    "dropout",
    "degree",
    "output",
    "weights",
}
NAMES = [*networks.NETWORKS, "mobilenetv2"]


def build(name: str, shape: tuple[int, ...], **options: Any) -> keras.Model:
    network = networks.find(name)
    return network.build(shape, 3, networks.make_options(network, options), [])


@pytest.mark.parametrize("name", NAMES)
def test_the_options_of_a_network_have_defaults_and_known_names(name: str) -> None:
    network = networks.find(name)
    assert is_dataclass(network.options)
    assert network.options.__dataclass_params__.frozen  # type: ignore[attr-defined] # no public word for it
    assert {field.name for field in fields(network.options)} <= VOCABULARY
    assert networks.make_options(network, {}) == network.options()
    assert networks.make_options(network, asdict(network.options())) == network.options()


def test_every_option_belongs_to_a_network() -> None:
    assert {field.name for name in NAMES for field in fields(networks.find(name).options)} == VOCABULARY


def test_a_list_counts_as_a_tuple_as_a_record_in_json_has_it() -> None:
    options = networks.make_options(networks.find("cnn"), {"filters": [4, 8, 16], "units": []})
    assert (options.filters, options.units) == ((4, 8, 16), ())


def test_an_option_of_another_network_is_told_with_those_it_has() -> None:
    expected = "the network 'mlp' has no option 'kernel'; it has units, activation, dropout"
    with pytest.raises(NotFound, match=expected):
        networks.make_options(networks.find("mlp"), {"kernel": 3})


BAD: Mapping[str, tuple[str, str, Any]] = {
    "no filters": ("cnn", "filters", ()),
    "0 filters": ("cnn", "filters", (25, 0)),
    "a number of filters": ("cnn", "filters", 25),
    "filters by the million": ("cnn", "filters", (10**6,)),
    "a kernel of nothing": ("cnn", "kernel", 0),
    "a negative kernel": ("cnn", "kernel", -3),
    "half a kernel": ("cnn", "kernel", 2.5),
    "a true kernel": ("cnn", "kernel", True),
    "no stride": ("cnn", "stride", 0),
    "unknown padding": ("cnn", "padding", "full"),
    "padding in a list": ("cnn", "padding", ["same"]),
    "an unknown activation": ("cnn", "activation", "rellu"),
    "no activation": ("mlp", "activation", None),
    "a class of Keras's": ("mlp", "activation", "ReLU"),
    "a function of Keras's": ("mlp", "activation", "deserialize"),
    "an attribute of a module": ("mlp", "activation", "__name__"),
    "an activation that halves the channels": ("cnn", "activation", "glu"),
    "0 units": ("mlp", "units", (0,)),
    "a negative share": ("mlp", "dropout", -0.1),
    "nothing kept": ("mlp", "dropout", 1),
    "a share that is no number": ("mlp", "dropout", float("nan")),
    "degree 0": ("polynomial", "degree", 0),
    "an absurd degree": ("polynomial", "degree", 17),
    "an unknown output": ("polynomial", "output", "linear"),
    "no weights": ("mobilenetv2", "weights", ""),
}


@pytest.mark.parametrize(("name", "option", "value"), BAD.values(), ids=BAD)
def test_a_bad_value_is_one_line_that_names_the_option_and_the_value(name: str, option: str, value: Any) -> None:
    with pytest.raises(Unsupported, match=f"option '{option}' of the network '{name}': expected ") as refused:
        networks.make_options(networks.find(name), {option: value})
    assert f"received {value!r}" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_kernel_larger_than_the_picture_is_refused() -> None:
    build("cnn", (8, 9, 1), kernel=8)
    with pytest.raises(Unsupported, match="kernel: expected at most the picture's 8 x 9 pixels, received 9"):
        build("cnn", (8, 9, 1), kernel=9)


@pytest.mark.parametrize("options", [{"stride": 4}, {"padding": "valid", "kernel": 5}, {"filters": (1, 1, 1, 1)}])
def test_stages_that_leave_nothing_are_refused_with_what_comes_to_them(options: dict[str, Any]) -> None:
    with pytest.raises(Unsupported, match=r"stage \d of \d: a picture of 8 x 8 comes to [12] x [12] before it"):
        build("cnn", (8, 8, 1), **options)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_what_is_not_refused_is_what_keras_can_build(padding: str, kernel: int, stride: int) -> None:
    """Our arithmetic and Keras's agree on each size up to which nothing is left."""
    refused = []
    for size in range(kernel, 24):
        stages = {"filters": (1, 1), "kernel": kernel, "stride": stride, "padding": padding}
        try:
            flat = build("cnn", (size, size, 1), **stages).get_layer("flatten").output
        except Unsupported:
            refused.append(size)
        else:
            assert flat.shape[1] >= 1
    assert refused == [size for size in range(kernel, 24) if _is_nothing(size, kernel, stride, padding)]


def _is_nothing(size: int, kernel: int, stride: int, padding: str) -> bool:
    layers = keras.layers
    value = keras.Input((size, size, 1))
    try:
        for _ in range(2):
            value = layers.MaxPooling2D()(layers.Conv2D(1, kernel, strides=stride, padding=padding)(value))
    except ValueError:
        return True
    return 0 in value.shape[1:]


def test_every_activation_of_keras_that_is_accepted_can_be_built() -> None:
    known = [name for name in vars(keras.activations) if name.islower() and not name.startswith("_")]
    built = []
    for name in known:
        try:
            build("mlp", (4,), activation=name, units=(6,))
        except Unsupported:
            continue
        built.append(name)
    assert {"relu", "tanh", "gelu", "linear", "softmax"} <= set(built)
    assert set(known) - set(built) == {"get", "serialize", "deserialize", "glu"}
