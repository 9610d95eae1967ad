"""The layers of a network in order, also of one that cannot be exported."""

from collections.abc import Iterator, Sequence

import keras
import numpy as np
import numpy.typing as npt

from strata_training.errors import Unsupported
from strata_training.functional import as_functional, input_names
from strata_training.trace import Input, Step, Trace, trace


def take_apart(model: keras.Model) -> Trace:
    """Return the layers of a model; of one that cannot be traced its outermost ones.

    Of several outputs of a layer the first is taken.

    Raises:
        Unsupported: it is not a graph of layers.
    """
    try:
        return trace(model)
    except Unsupported:
        functional = as_functional(model)
        if functional is None:
            raise
    inputs = [Input(name, tensor) for name, tensor in zip(input_names(functional), functional.inputs, strict=True)]
    return Trace(functional, tuple(inputs), tuple(_list_steps(functional)), ())


def _list_steps(functional: keras.Model) -> Iterator[Step]:
    for layer in functional.layers:
        try:
            tensor = keras.tree.flatten(layer.output)[0]
        except (AttributeError, ValueError):  # called several times, or a part that is no layer
            continue
        if isinstance(tensor, keras.KerasTensor) and not isinstance(layer, keras.layers.InputLayer):
            yield Step(layer.name, type(layer).__name__, layer, None, (), tensor)


def compute(network: Trace, steps: Sequence[Step], rows: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
    """Return the activations of some layers for rows of the one input, what is no number as 0."""
    entry = network.inputs[0].tensor
    model = keras.Model(entry, [step.tensor for step in steps])
    answers = keras.tree.flatten(model.predict_on_batch(rows.astype(entry.dtype)))
    return [np.nan_to_num(np.asarray(answer, np.float32)) for answer in answers]
