"""The end of a network, which names the classes, and a new one in its place."""

from collections.abc import Sequence

import keras

from strata_training.augmentation import is_augmentation
from strata_training.errors import Unsupported
from strata_training.functional import as_functional, calls, input_names

NAME = "predictions"
"""Of a head where there was none."""

# What may stand between a head's dense layer and the answer.
_BEHIND = (keras.layers.Activation, keras.layers.Softmax)


def replace_head(model: keras.Model, classes: int | None, augmentation: Sequence[keras.layers.Layer]) -> keras.Model:
    """Return a network of the same layers with a new last one, and with other augmentation.

    The layers are those of the model itself, not copies.

    Args:
        model: with one input and one answer; a dense layer makes it, or it gives features and has no head.
        classes: of the new head; None keeps the old one.
        augmentation: layers to put behind the input, in place of any that are there.

    Raises:
        Unsupported: it is not a graph of layers, or has no place for a head.
    """
    functional = as_functional(model)
    if functional is None or len(functional.inputs) != 1 or len(functional.outputs) != 1:
        raise Unsupported("expected a Sequential or functional model with one known input and one output")
    head = _find_head(functional)
    last = functional.outputs[0] if classes is None or head is None else head.input
    entry, output = _call_again(functional, last, augmentation)
    if classes is not None:
        output = _add_head(output, head.name if head else NAME, classes)
    return keras.Model(entry, output, name=model.name)


def _find_head(functional: keras.Model) -> keras.layers.Dense | None:
    """Return the dense layer that makes the answer, with nothing but an activation behind it."""
    made = {id(output): call for call in calls(functional) for output in call.node.outputs}
    tensor = functional.outputs[0]
    while id(tensor) in made:
        layer = made[id(tensor)].layer
        if isinstance(layer, keras.layers.Dense):
            return layer
        if not isinstance(layer, _BEHIND):
            return None
        tensor = made[id(tensor)].node.input_tensors[0]
    return None


def _call_again(
    functional: keras.Model, last: keras.KerasTensor, augmentation: Sequence[keras.layers.Layer]
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Call all layers, with others behind the input; return the input, and what stands for a tensor of before."""
    before = functional.inputs[0]
    entry = value = keras.Input(before.shape[1:], dtype=before.dtype, name=input_names(functional)[0])
    for layer in augmentation:
        value = layer(value)
    values = {id(before): value}
    for call in calls(functional):
        positional, named = call.node.arguments.fill_in(values)
        passed = is_augmentation(call.layer)
        outputs = [positional[0]] if passed else keras.tree.flatten(call.layer(*positional, **named))
        values.update(zip(map(id, call.node.outputs), outputs, strict=True))
    return entry, values[id(last)]


def _add_head(features: keras.KerasTensor, name: str, classes: int) -> keras.KerasTensor:
    if len(features.shape) == 4:
        features = keras.layers.GlobalAveragePooling2D(name="features")(features)
    if len(features.shape) != 2:
        raise Unsupported(f"expected features of one or three dimensions for a new head, received {features.shape}")
    return keras.layers.Dense(classes, activation="softmax", name=name)(features)
