"""Parameters and multiply-adds, with the calculation that leads to them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from strata_training.layers import count_multiply_adds, count_parameters
from strata_training.networks.features import PolynomialFeatures
from strata_training.trace import Step, Trace

_CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
_SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)


@dataclass(frozen=True)
class LayerRow:
    """A layer, and what it costs."""

    name: str
    kind: str
    shape: str
    parameters: str
    """'(3 x 3 x 1 + 1) x 25 = 250'"""
    multiply_adds: str
    """For one example."""
    note: str
    """What the formulas do not say; mostly empty."""


@dataclass(frozen=True)
class LayerTable:
    """All layers, the input first."""

    rows: Sequence[LayerRow]
    parameters: int
    multiply_adds: int


def make_layer_table(network: Trace) -> LayerTable:
    """Return every layer with its formulas."""
    counts = count_parameters(network)
    costs = {step.name: count_multiply_adds(step.layer, (-1, *step.tensor.shape[1:])) for step in network.steps}
    entries = [
        LayerRow(entry.name, "InputLayer", _times(entry.tensor.shape[1:], ""), "0", "0", "") for entry in network.inputs
    ]
    rows = [_make_row(step, counts[step.name], costs[step.name]) for step in network.steps]
    return LayerTable([*entries, *rows], sum(counts.values()), sum(costs.values()))


def _make_row(step: Step, parameters: int, multiply_adds: int) -> LayerRow:
    own = sum(math.prod(weight.shape) for weight in getattr(step.layer, "weights", ()))
    return LayerRow(
        step.name,
        step.kind,
        _times(step.tensor.shape[1:], ""),
        _equate(calculate_parameters(step.layer) if own == parameters else "", parameters),
        _equate(calculate_multiply_adds(step.layer, step.tensor.shape), multiply_adds),
        _note(step) if own == parameters else "shares weights with a layer above, where they are counted",
    )


def calculate_parameters(layer: Callable[..., Any]) -> str:
    """Return the calculation of a layer's learned numbers, such as '(3 x 3 x 1 + 1) x 25'; empty for none."""
    if isinstance(layer, (*_CONVOLUTIONS, keras.layers.Dense)):
        *field, channels = layer.kernel.shape
        return f"{_with_bias(field, layer)} x {channels}"
    if isinstance(layer, _DEPTHWISE):
        *field, channels, multiplier = layer.kernel.shape
        return f"{_with_bias(field, layer)} x {_times([channels, *_unless_one(multiplier)])}"
    if isinstance(layer, _SEPARABLE):
        *field, channels, multiplier = layer.depthwise_kernel.shape
        pointwise = _with_bias([channels * multiplier], layer)
        return f"{_times([*field, channels, *_unless_one(multiplier)])} + {pointwise} x {layer.filters}"
    weights = [weight.shape for weight in getattr(layer, "weights", ())]
    if isinstance(layer, keras.layers.BatchNormalization):
        return f"{len(weights)} x {math.prod(weights[0])}"
    return " + ".join(_times(shape or [1]) for shape in weights)


def calculate_multiply_adds(layer: Callable[..., Any], shape: Sequence[Any]) -> str:
    """Return the calculation of a layer's multiply-adds for one example; empty where none are counted.

    Args:
        layer: a layer of any kind.
        shape: of its activation, the batch first.
    """
    *places, channels = shape[1:]
    if getattr(layer, "data_format", None) == "channels_first":
        channels, *places = shape[1:]
    if isinstance(layer, _CONVOLUTIONS):
        return _times([*places, channels, *layer.kernel.shape[:-1]])
    if isinstance(layer, keras.layers.Dense):
        return _times([*places, *layer.kernel.shape])
    if isinstance(layer, _DEPTHWISE):
        return _times([*places, channels, *layer.kernel.shape[:-2]])
    if isinstance(layer, _SEPARABLE):
        *field, taken, multiplier = layer.depthwise_kernel.shape
        between = taken * multiplier
        return f"{_times(places)} x ({_times([*field, between])} + {_times([between, channels])})"
    return ""


def _note(step: Step) -> str:
    if isinstance(step.layer, PolynomialFeatures):
        degree, features = step.layer.degree, step.tensor.shape[-1]
        values = step.layer.input.shape[-1] if step.arguments is None else step.source_tensors[0].shape[-1]
        return (
            f"all products of up to {degree} of {values} values: "
            f"({values} + {degree})! / ({values}! x {degree}!) - 1 = {features:,}"
        )
    if isinstance(step.layer, keras.layers.BatchNormalization):
        names = ("scale", *(["offset"] if step.layer.center else []), "mean", "variance")
        return f"{', '.join(names if step.layer.scale else names[1:])} of each channel"
    return ""


def _with_bias(field: Sequence[int], layer: Any) -> str:
    return f"({_times(field)} + 1)" if layer.use_bias else _times(field)


def _unless_one(factor: int) -> list[int]:
    return [factor] if factor > 1 else []


def _equate(calculation: str, value: int) -> str:
    # '128 = 128' says nothing.
    return f"{calculation} = {value:,}" if " " in calculation else f"{value:,}"


def _times(numbers: Sequence[Any], space: str = " ") -> str:
    return f"{space}x{space}".join(map(str, numbers))
