"""A Keras model as the graph that Keras keeps of it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from strata_training.errors import Unsupported


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer within a model."""

    layer: keras.Operation
    number: int
    """How many calls of the layer were built before this one, in this model."""
    node: Any
    """Keras's record of it, with its `arguments` and `outputs`."""

    @property
    def name(self) -> str:
        """The layer's name, from the second call on with the call's number: `name`, `name:1`, `name:2`."""
        return f"{self.layer.name}:{self.number}" if self.number else str(self.layer.name)


def as_functional(model: keras.Model) -> keras.Model | None:
    """Return the graph of a model, which takes a list; None where there is none, or where it is not what is called."""
    try:
        functional = keras.Model(model.inputs, model.outputs)
    except (AttributeError, TypeError, ValueError):
        return None
    return functional if type(model).call in (type(functional).call, keras.Sequential.call) else None


def input_names(functional: keras.Model) -> list[str]:
    """Return the names of the InputLayers, which a file keeps; a tensor's own name may be a mere count."""
    layers = [layer for layer in functional.operations if isinstance(layer, keras.layers.InputLayer)]
    names = {id(layer.output): layer.name for layer in layers}
    return [names.get(id(tensor), tensor.name) for tensor in functional.inputs]


def calls(functional: keras.Model) -> Iterator[Call]:
    """Give the calls of a model, each after those it takes its values from.

    The calls of one layer come in the order in which they were built, which a file keeps. Keras runs them by their
    distance from the outputs, where a later one may come first.
    """
    waiting = _nodes(functional)
    numbers = _numbers(waiting)
    known = {id(tensor) for tensor in functional.inputs}
    done: Counter[keras.Operation] = Counter()
    while waiting:
        node = next(
            node
            for node in waiting
            if numbers[node] == done[node.operation] and all(id(tensor) in known for tensor in node.input_tensors)
        )
        yield Call(node.operation, numbers[node], node)
        waiting.remove(node)
        done[node.operation] += 1
        known.update(map(id, node.outputs))


def match_inputs(model: keras.Model, name: str, arguments: Any) -> Sequence[keras.KerasTensor]:
    """Return the tensors that a nested model is called with, in the order of its inputs.

    Args:
        model: the nested one.
        name: what the call is to be called in a message.
        arguments: the positional and the named ones.

    Raises:
        Unsupported: it is called with more tensors than it has inputs, or with a mask.
    """
    positional, named = arguments
    given = dict(zip(("inputs", "training", "mask"), positional, strict=False)) | named
    # Keras itself fills in a mask for each input, usually None.
    if any(mask is not None for mask in keras.tree.flatten(given.get("mask"))):
        raise Unsupported(f"layer {name!r} is a model that is called with a mask: not supported")
    tensors = _in_order(model, given["inputs"])
    if len(tensors) != len(model.inputs):
        raise Unsupported(
            f"layer {name!r} is a model: expected a tensor for each of its {len(model.inputs)} inputs, "
            f"received {len(tensors)}"
        )
    return tensors


def _in_order(model: keras.Model, given: Any) -> Sequence[keras.KerasTensor]:
    if isinstance(given, dict) and not isinstance(model.input, dict):
        # Keras picks by name then, and there may be more; else it takes all, a dictionary's sorted by their keys.
        return [given[tensor.name] for tensor in model.inputs]
    return list(keras.tree.flatten(given))


def _nodes(functional: keras.Model) -> list[Any]:
    """Return the calls in the order in which Keras runs them.

    A layer remembers each call that was ever made of it, in this model or another; only the model itself knows
    which are its own, and Keras has no public word for that.
    """
    by_depth = functional._nodes_by_depth  # noqa: SLF001
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth] if not node.is_input]


def _numbers(nodes: Sequence[Any]) -> dict[Any, int]:
    own = set(nodes)
    numbers = {}
    for layer in {node.operation for node in nodes}:
        built = [node for node in layer._inbound_nodes if node in own]  # noqa: SLF001 - see _nodes
        numbers.update({node: number for number, node in enumerate(built)})
    return numbers
