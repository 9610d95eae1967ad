"""The options of a network: what they are checked for before anything is built."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from strata_training.errors import NotFound, Unsupported
from strata_training.networks.network import Network
from strata_training.networks.polynomial import HIGHEST_DEGREE

PADDINGS = ("same", "valid")
OUTPUTS = ("softmax", "sigmoid")

_LARGEST = 2**16
# What else is in Keras's module of them; glu halves the number of channels.
_NO_ACTIVATIONS = {"get", "serialize", "deserialize", "glu"}


def make_options(network: Network, given: Mapping[str, Any]) -> Any:
    """Return a network's options, those that are not given at their defaults.

    Args:
        network: whose they are.
        given: values by name; a list counts as a tuple.

    Raises:
        NotFound: the network has no such option.
        Unsupported: a value that the option cannot have.
    """
    known = [field.name for field in fields(network.options)]
    values = {}
    for name, value in given.items():
        if name not in known:
            raise NotFound(f"the network {network.name!r} has no option {name!r}; it has {', '.join(known)}")
        values[name] = _check(f"option {name!r} of the network {network.name!r}", name, value)
    return network.options(**values)


def _check(where: str, name: str, value: Any) -> Any:
    expected, is_good = _CHECKS[name]
    taken = tuple(value) if isinstance(value, list) else value
    if not is_good(taken):
        raise Unsupported(f"{where}: expected {expected}, received {value!r:.80}")
    return taken


def _is_count(value: Any) -> bool:
    return type(value) is int and 1 <= value <= _LARGEST


def _is_degree(value: Any) -> bool:
    return _is_count(value) and value <= HIGHEST_DEGREE


def _are_counts(value: Any) -> bool:
    return isinstance(value, tuple) and all(map(_is_count, value))


def _is_share(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < 1


def _is_activation(value: Any) -> bool:
    import keras

    # Looked up in its own module: Keras's `get` would also take any function that somebody registered.
    known = vars(keras.activations).keys() - _NO_ACTIVATIONS
    return isinstance(value, str) and value.islower() and not value.startswith("_") and value in known


_COUNT = f"a whole number from 1 to {_LARGEST:,}"
_CHECKS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "filters": (f"at least one number, each from 1 to {_LARGEST:,}", lambda value: _are_counts(value) and value != ()),
    "kernel": (_COUNT, _is_count),
    "stride": (_COUNT, _is_count),
    "padding": (" or ".join(PADDINGS), PADDINGS.__contains__),
    "activation": ("one of Keras's, such as relu, tanh or linear", _is_activation),
    "units": (f"numbers from 1 to {_LARGEST:,}", _are_counts),
    "dropout": ("a share from 0 to below 1", _is_share),
    "degree": (f"a whole number from 1 to {HIGHEST_DEGREE}", _is_degree),
    "output": (" or ".join(OUTPUTS), OUTPUTS.__contains__),
    "weights": ("none, imagenet or a file's path", lambda value: isinstance(value, str) and value != ""),
}
