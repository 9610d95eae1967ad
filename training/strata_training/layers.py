"""The layers of a Keras model, as the manifest describes them."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
from strata.v1 import catalog_pb2, tensor_pb2

from strata_training.errors import Unsupported
from strata_training.trace import Input, Step, Trace

# The kernels whose every weight is multiplied once for each place of the output.
_KERNELS: Mapping[type[keras.layers.Layer], tuple[str, ...]] = {
    keras.layers.Conv1D: ("kernel",),
    keras.layers.Conv2D: ("kernel",),
    keras.layers.Conv3D: ("kernel",),
    keras.layers.Dense: ("kernel",),
    keras.layers.DepthwiseConv1D: ("kernel",),
    keras.layers.DepthwiseConv2D: ("kernel",),
    keras.layers.SeparableConv1D: ("depthwise_kernel", "pointwise_kernel"),
    keras.layers.SeparableConv2D: ("depthwise_kernel", "pointwise_kernel"),
}


def describe(network: Trace) -> list[catalog_pb2.Layer]:
    """Return every layer by depth, the inputs first.

    Raises:
        Unsupported: a layer's values have a type that the manifest does not know.
    """
    depths = {entry.name: 0 for entry in network.inputs}
    layers = [_describe_input(entry) for entry in network.inputs]
    parameters = count_parameters(network)
    for step in network.steps:
        depths[step.name] = 1 + max((depths[source] for source in step.sources), default=0)
        exits = step.name in network.exits
        layers.append(_describe_step(step, depths[step.name], parameters[step.name], default_exit=exits))
    return sorted(layers, key=lambda layer: layer.depth)


def count_parameters(network: Trace) -> dict[str, int]:
    """Return how many learned numbers each layer holds, those that training leaves as they are included.

    What several layers or calls share counts where it is first used.
    """
    counts: dict[str, int] = {}
    counted: set[int] = set()
    for step in network.steps:
        weights = {id(weight): math.prod(weight.shape) for weight in getattr(step.layer, "weights", ())}
        counts[step.name] = sum(count for weight, count in weights.items() if weight not in counted)
        counted |= weights.keys()
    return counts


def count_multiply_adds(layer: Callable[..., Any], shape: Sequence[int]) -> int:
    """Return the multiplications that are followed by an addition, for one row.

    Args:
        layer: a convolution or a dense layer; any other has none that are counted.
        shape: of its activation, the batch first.
    """
    names = next((names for kind, names in _KERNELS.items() if isinstance(layer, kind)), ())
    places = math.prod(shape[1:]) // shape[_channel_axis(layer)] if names else 0
    return sum(places * math.prod(getattr(layer, name).shape) for name in names)


def _channel_axis(layer: Callable[..., Any]) -> int:
    return 1 if getattr(layer, "data_format", None) == "channels_first" else -1


def _describe_input(entry: Input) -> catalog_pb2.Layer:
    return catalog_pb2.Layer(
        name=entry.name, kind="InputLayer", shape=_shape(entry.tensor), data_type=_data_type(entry)
    )


def _describe_step(step: Step, depth: int, parameters: int, *, default_exit: bool) -> catalog_pb2.Layer:
    return catalog_pb2.Layer(
        name=step.name,
        kind=step.kind,
        shape=_shape(step.tensor),
        data_type=_data_type(step),
        parameters=parameters,
        multiply_adds=count_multiply_adds(step.layer, _shape(step.tensor)),
        depth=depth,
        default_exit=default_exit,
    )


def _shape(tensor: keras.KerasTensor) -> list[int]:
    return [-1, *tensor.shape[1:]]


def _data_type(point: Input | Step) -> str:
    name = f"DATA_TYPE_{point.tensor.dtype.upper()}"
    if name not in tensor_pb2.DataType.keys():  # noqa: SIM118 - no mapping: it has keys, but no `in`
        raise Unsupported(f"layer {point.name!r}: values of type {point.tensor.dtype} cannot be served")
    return name
