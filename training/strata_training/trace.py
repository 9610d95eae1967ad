"""The layers of a Keras model, and what each is computed from."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from strata_training.errors import Unsupported

# What TensorFlow takes as the name of a scope. Tried with another name, Keras would keep it on its stack of scopes,
# and every layer after it would fail.
_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.>-]*")


@dataclass(frozen=True, eq=False)
class Input:
    """Where a batch enters."""

    name: str
    tensor: keras.KerasTensor


@dataclass(frozen=True, eq=False)
class Step:
    """One layer, as the model calls it."""

    layer: keras.Operation
    arguments: Any
    """Positional and keyword arguments of the call, the tensors among them symbolic."""
    sources: tuple[str, ...]
    """The inputs and layers whose activations it takes, in the order of the arguments; one may be twice."""
    tensor: keras.KerasTensor
    """What it computes, symbolic."""

    @property
    def name(self) -> str:
        """The layer's name."""
        return str(self.layer.name)

    @property
    def source_tensors(self) -> list[keras.KerasTensor]:
        """The symbolic tensors among the arguments, in the order of `sources`."""
        return _tensors(self.arguments)

    def compute(self, values: Sequence[Any]) -> Any:
        """Call the layer, as in inference, with these values in place of the symbolic tensors."""
        following = iter(values)
        positional, named = keras.tree.map_structure(
            lambda item: next(following) if isinstance(item, keras.KerasTensor) else item, self.arguments
        )
        return self.layer(*positional, **named)


@dataclass(frozen=True, eq=False)
class Trace:
    """A Keras model taken apart."""

    inputs: tuple[Input, ...]
    steps: tuple[Step, ...]
    """Each after those it takes its values from."""
    exits: tuple[str, ...]
    """The layers that are the model's answer."""

    @property
    def points(self) -> Iterator[Input | Step]:
        """The inputs, then the layers."""
        yield from self.inputs
        yield from self.steps


def trace(model: keras.Model) -> Trace:
    """Take a model apart.

    Raises:
        Unsupported: it is not a graph of layers, or a layer cannot be addressed by its name.
    """
    functional = _as_functional(model)
    calls: list[tuple[keras.Operation, Any, Any]] = []

    def call(layer: keras.Operation, *positional: Any, **named: Any) -> Any:
        _check_layer(layer)
        output = layer(*positional, **named)
        calls.append((layer, (positional, named), output))
        return output

    # A layer remembers each call that was ever made of it, in this model or another; a new walk finds this model's.
    walked = keras.models.clone_model(functional, clone_function=_same, call_function=call)
    if not calls:
        raise Unsupported("expected a model with at least one layer, received one whose outputs are its inputs")
    input_names = _input_names(functional)
    _check_names([*input_names, *(layer.name for layer, _, _ in calls)])
    return _assemble(input_names, walked, calls)


def _as_functional(model: keras.Model) -> keras.Model:
    try:
        return keras.Model(model.inputs, model.outputs)
    except (AttributeError, TypeError, ValueError) as error:
        raise Unsupported(
            f"{type(model).__name__} is not a graph of layers: expected a Sequential or functional model "
            "with a known input"
        ) from error


def _same(layer: keras.Operation) -> keras.Operation:
    return layer


def _input_names(functional: keras.Model) -> list[str]:
    """Return the names of the InputLayers, which a file keeps; a tensor's own name may be a mere count."""
    names = {id(operation.output): operation.name for operation in functional.operations[: len(functional.inputs)]}
    return [names.get(id(tensor), tensor.name) for tensor in functional.inputs]


def _assemble(input_names: list[str], walked: keras.Model, calls: list[tuple[keras.Operation, Any, Any]]) -> Trace:
    inputs = [Input(name, tensor) for name, tensor in zip(input_names, walked.inputs, strict=True)]
    for entry in inputs:
        _check_tensor(entry.name, entry.tensor)
    names = {id(entry.tensor): entry.name for entry in inputs}
    steps = []
    for layer, arguments, output in calls:
        _check_tensor(layer.name, output)
        sources = tuple(names[id(tensor)] for tensor in _tensors(arguments))
        steps.append(Step(layer, arguments, sources, output))
        names[id(output)] = layer.name
    return Trace(tuple(inputs), tuple(steps), tuple(names[id(tensor)] for tensor in walked.outputs))


def _tensors(arguments: Any) -> list[keras.KerasTensor]:
    return [item for item in keras.tree.flatten(arguments) if isinstance(item, keras.KerasTensor)]


def _check_layer(layer: keras.Operation) -> None:
    if isinstance(layer, keras.Model):
        raise Unsupported(
            f"layer {layer.name!r} is a model of its own ({type(layer).__name__}), so the layers inside it have "
            "no name in the whole: call its layers one by one instead"
        )


def _check_names(names: list[str]) -> None:
    for name, uses in Counter(names).items():
        if uses > 1:
            raise Unsupported(f"layer {name!r} is used {uses} times, so its name means no one activation")
        if not _NAME.fullmatch(name):
            raise Unsupported(f"bad name of a layer: expected letters, digits, '.', '_', '>' or '-', received {name!r}")


def _check_tensor(name: str, output: Any) -> None:
    if not isinstance(output, keras.KerasTensor):
        raise Unsupported(f"layer {name!r} has {len(output)} outputs, so its name means no one activation")
    if not output.shape or output.shape[0] is not None or None in output.shape[1:]:
        raise Unsupported(f"layer {name!r}: expected a shape in which the batch alone is open, received {output.shape}")
