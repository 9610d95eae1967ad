"""The layers of a Keras model, and what each is computed from.

A model within the model is taken apart as well: its layers are `outer/inner`, and `outer` is what it computes.
The second call of a layer or a nested model is `name:1`, the third `name:2`.

Augmentation, which changes nothing in inference, is passed by: what follows it takes what it took.
"""

import functools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from strata_training.augmentation import is_augmentation
from strata_training.errors import Unsupported
from strata_training.functional import Call, as_functional, calls, input_names, match_inputs

# What TensorFlow takes as the name of a scope. Tried with another name, Keras would keep it on its stack of scopes,
# and every layer after it would fail. There is no '/' and no ':' in it, so that no layer can have the name of
# another one's second call or of a layer within another.
_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.>-]*")


@dataclass(frozen=True, eq=False)
class Input:
    """Where a batch enters."""

    name: str
    tensor: keras.KerasTensor


@dataclass(frozen=True, eq=False)
class Step:
    """One layer, as the model calls it."""

    name: str
    kind: str
    """The class of the layer; where a nested model ends, the class of that model."""
    layer: Callable[..., Any]
    """What computes it: a Keras layer, or a function of Keras."""
    arguments: Any
    """Positional and keyword arguments of the call, the tensors among them symbolic."""
    sources: tuple[str, ...]
    """The inputs and layers whose activations it takes, in the order of the arguments; one may be twice."""
    tensor: keras.KerasTensor
    """What it computes, symbolic."""

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
        if "training" in named:
            # As `predict` has it, whatever stood there when the model was built.
            named["training"] = False
        return self.layer(*positional, **named)


@dataclass(frozen=True, eq=False)
class Trace:
    """A Keras model taken apart."""

    model: keras.Model
    """The whole, which takes a list of the inputs."""
    inputs: tuple[Input, ...]
    steps: tuple[Step, ...]
    """Each after those it takes its values from, and after the earlier calls of its layer."""
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
    functional = as_functional(model)
    if functional is None:
        raise Unsupported(
            f"{type(model).__name__} is not a graph of layers: expected a Sequential or functional model "
            "with a known input and no `call` of its own"
        )
    inputs = tuple(Input(name, tensor) for name, tensor in zip(input_names(functional), functional.inputs, strict=True))
    walk = _Walk(inputs)
    outputs = walk.run(functional, functional.inputs)
    if not walk.steps:
        raise Unsupported("expected a model with at least one layer, received one whose outputs are its inputs")
    return Trace(functional, inputs, tuple(walk.steps), tuple(map(walk.name, outputs)))


class _Walk:
    """Calls the layers of a model one by one, and keeps each call as a step."""

    def __init__(self, inputs: Sequence[Input]) -> None:
        self.steps: list[Step] = []
        self._names: dict[int, str] = {}
        for entry in inputs:
            _check_name(entry.name)
            self._keep(entry.name, entry.tensor)

    def name(self, tensor: keras.KerasTensor) -> str:
        """Return the input or layer whose activation a tensor is."""
        return self._names[id(tensor)]

    def run(self, functional: keras.Model, inputs: Sequence[keras.KerasTensor], prefix: str = "") -> Sequence[Any]:
        """Call all layers of a model, and return its outputs."""
        values = dict(zip(map(id, functional.inputs), inputs, strict=True))
        for call in calls(functional):
            arguments = call.node.arguments.fill_in(values)
            outputs: Sequence[keras.KerasTensor]
            if is_augmentation(call.layer):
                outputs = self._pass_by(prefix + call.name, call, _tensors(arguments))
            else:
                _check_name(call.layer.name)
                outputs = self._call(call.layer, prefix + call.name, arguments)
            values.update(zip(map(id, call.node.outputs), outputs, strict=True))
        return [values[id(tensor)] for tensor in functional.outputs]

    def _pass_by(self, name: str, call: Call, taken: Sequence[keras.KerasTensor]) -> list[keras.KerasTensor]:
        """Return what augmentation takes; but of the type that it gives, such as float32 for whole numbers."""
        given = call.node.outputs
        if len(taken) != 1 or len(given) != 1:
            raise Unsupported(
                f"layer {name!r} is augmentation: expected it to take and give one tensor, received {len(taken)}"
            )
        if taken[0].dtype == given[0].dtype:
            return list(taken)
        _check_name(call.layer.name)
        return [self._cast(name, taken[0], given[0], type(call.layer).__name__)]

    def _call(self, layer: keras.Operation, name: str, arguments: Any) -> Sequence[keras.KerasTensor]:
        functional = as_functional(layer) if isinstance(layer, keras.Model) else None
        if functional is None:
            return [self._add(name, type(layer).__name__, layer, arguments)]
        outputs = self.run(functional, self._enter(functional, name, match_inputs(layer, name, arguments)), f"{name}/")
        if len(outputs) > 1:
            # Each has the name of an inner layer; the model's own would mean no one of them.
            return outputs
        # Without `autocast` it leaves the type as it is, whatever Keras is set to.
        return [self._add(name, type(layer).__name__, keras.layers.Identity(autocast=False), (outputs, {}))]

    def _enter(self, functional: keras.Model, name: str, given: Sequence[keras.KerasTensor]) -> list[keras.KerasTensor]:
        """Return the inputs of a nested model: the tensors it is given, but of the types that it takes."""
        expected = zip(input_names(functional), functional.inputs, strict=True)
        return [
            self._cast(f"{name}/{inner}", tensor, wanted)
            for tensor, (inner, wanted) in zip(given, expected, strict=True)
        ]

    def _cast(
        self, name: str, tensor: keras.KerasTensor, wanted: keras.KerasTensor, kind: str = "InputLayer"
    ) -> keras.KerasTensor:
        if len(tensor.shape) != len(wanted.shape):
            raise Unsupported(f"layer {name!r}: expected a value of shape {wanted.shape}, received {tensor.shape}")
        if tensor.dtype == wanted.dtype:
            return tensor
        cast = functools.partial(keras.ops.cast, dtype=wanted.dtype)
        return self._add(name, kind, cast, ([tensor], {}))

    def _add(self, name: str, kind: str, layer: Callable[..., Any], arguments: Any) -> keras.KerasTensor:
        positional, named = arguments
        output = layer(*positional, **named)
        self._keep(name, output)
        sources = tuple(map(self.name, _tensors(arguments)))
        self.steps.append(Step(name, kind, layer, arguments, sources, output))
        return output

    def _keep(self, name: str, tensor: Any) -> None:
        _check_tensor(name, tensor)
        self._names[id(tensor)] = name


def _tensors(arguments: Any) -> list[keras.KerasTensor]:
    return [item for item in keras.tree.flatten(arguments) if isinstance(item, keras.KerasTensor)]


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise Unsupported(f"bad name of a layer: expected letters, digits, '.', '_', '>' or '-', received {name!r}")


def _check_tensor(name: str, output: Any) -> None:
    if not isinstance(output, keras.KerasTensor):
        raise Unsupported(f"layer {name!r} has {len(output)} outputs, so its name means no one activation")
    if not output.shape or output.shape[0] is not None or None in output.shape[1:]:
        raise Unsupported(f"layer {name!r}: expected a shape in which the batch alone is open, received {output.shape}")
