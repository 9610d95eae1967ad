"""What every row is asked for, and how the answer becomes columns."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from strata_client import reductions
from strata_client.archives import name_arrays
from strata_client.batch.blocks import NAMED, Block, Column
from strata_client.errors import InvalidArgument, NotFound
from strata_client.reductions import NONE, Reduce, Reduction

if TYPE_CHECKING:
    from strata_client import Client
    from strata_client._shared import Inputs
    from strata_client.activations import Activations
    from strata_client.activity import Array
    from strata_client.catalog import Description, Layer


@dataclass(frozen=True)
class Exits:
    """The layers that a request leaves at."""

    layers: tuple[str, ...]
    """Those that get columns, in their order."""
    reductions: Mapping[str, Reduction]
    """What is done to each of them."""
    label_layer: str
    """The layer whose best class is the label; empty where the model gives none."""
    classes: tuple[str, ...]
    """The names of its classes; empty where they have none."""

    @property
    def asked(self) -> tuple[str, ...]:
        """All that a request asks for: label and score are made of one layer, asked for or not."""
        has_label_layer = not self.label_layer or self.label_layer in self.layers
        return self.layers if has_label_layer else (*self.layers, self.label_layer)

    def ask(self, client: Client, inputs: Inputs, model: str) -> Activations:
        """Ask a model for them; errors as in `Client.activations`."""
        return client.activations(inputs, self.asked, model=model, reduce=dict(self.reductions))

    def split(self, answer: Activations) -> Block:
        """Return the columns of an answer; whose rows they are is for the caller to say.

        A row of scores with NaN has no best class: neither label nor score.
        """
        labels, scores = self._rank(answer)
        arrays = name_arrays(answer)
        if self.label_layer not in self.layers:
            arrays.pop(self.label_layer, None)
        tensors = {rename(name): array for name, array in arrays.items()}
        rows = len(answer[self.asked[0]])
        return Block([""] * rows, labels, scores, [None] * rows, tensors)

    def _rank(self, answer: Activations) -> tuple[Sequence[str | None], Sequence[float | None]]:
        if not self.label_layer:
            nothing = [None] * len(answer[self.asked[0]])
            return nothing, nothing
        values = answer[self.label_layer]
        channels = answer.channels.get(self.label_layer)
        if channels is not None:  # the best ones first
            best, scores = channels[:, 0], values[:, 0]
        else:
            best = values.argmax(axis=1)  # of equal ones the first, as the server ranks
            scores = np.take_along_axis(values, best[:, None], axis=1)[:, 0]
        pairs = list(zip(best.tolist(), scores.tolist(), strict=True))
        # argmax finds NaN wherever there is one.
        labels = [self._name(index) if score == score else None for index, score in pairs]  # noqa: PLR0124 - not NaN
        return labels, [score if score == score else None for _, score in pairs]  # noqa: PLR0124 - the same

    def _name(self, index: int) -> str:
        return self.classes[index] if self.classes else str(index)


def choose_exits(description: Description, layers: Sequence[str], reduce: Reduce) -> Exits:
    """Return what every row is asked for.

    Raises:
        InvalidArgument: nothing to ask, a layer twice, one that is text, or one that leaves no label where it has to.
        NotFound: the model has no such layer; it names the nearest.
    """
    label_layer = find_label_layer(description)
    resolved = reductions.resolve(reduce, layers)
    if len(set(layers)) < len(layers):
        raise InvalidArgument(f"layers: expected each once; received {', '.join(layers)}")
    for name in layers:
        layer = description.find(name)
        if layer is None:
            raise _unknown(name, description)
        _check_layer(layer, resolved[name])
    if label_layer is None:
        if not layers:
            raise InvalidArgument(f"{description.name} gives no labels: name the layers wanted")
        return Exits(tuple(layers), resolved, "", ())
    _check_label_layer(label_layer.name, resolved.get(label_layer.name, NONE))
    width = label_layer.shape[1] if label_layer.shape else -1
    classes = description.classes if len(description.classes) == width else ()
    return Exits(tuple(layers), resolved, label_layer.name, classes)


def find_label_layer(description: Description) -> Layer | None:
    """Return the layer that is the whole prediction and has a score for each class; None where there is none."""
    exits = [layer for layer in description.layers if layer.default_exit]
    return exits[0] if len(exits) == 1 and "top_labels" in exits[0].reductions else None


def _check_layer(layer: Layer, reduction: Reduction) -> None:
    if layer.type_name == "string":
        raise InvalidArgument(f"{layer.name}: a layer of text is no tensor column; leave it out")
    for step in fields(Reduction):
        if getattr(reduction, step.name) and step.name not in layer.reductions:
            has = ", ".join(layer.reductions) or "none"
            raise InvalidArgument(f"{layer.name}: the reductions of this layer are: {has}; received {reduction}")


def _unknown(name: str, description: Description) -> NotFound:
    nearest = difflib.get_close_matches(name, [layer.name for layer in description.layers])
    also = f"; nearest: {', '.join(map(repr, nearest))}" if nearest else ""
    return NotFound(f"model {description.name}: unknown layer {name!r}{also}")


def _check_label_layer(name: str, reduction: Reduction) -> None:
    if reduction != NONE and not reduction.top_labels:
        raise InvalidArgument(
            f"{name}: label and score are made of this layer: expected none or labels:K as its reduction; "
            f"received {reduction}"
        )


def rename(layer: str) -> str:
    """Return a layer's name as a column's, which must be none of those that every result has."""
    return f"{layer}_" if layer.rstrip("_") in NAMED else layer


def find_columns(block: Block) -> tuple[Column, ...]:
    """Return what columns an answer has."""
    return tuple(Column(name, array.dtype.newbyteorder("<"), array.shape[1:]) for name, array in block.tensors.items())


def fill(column: Column, rows: int) -> Array:
    """Return what stands for rows that failed: NaN, or 0 where the type has none."""
    value = np.nan if column.dtype.kind == "f" else 0
    return np.full((rows, *column.shape), value, column.dtype)
