"""Answers requests, whatever protocol they came over."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from strata_server.catalog import Layer
from strata_server.deadline import Deadline
from strata_server.errors import InvalidArgument, quote, quote_all
from strata_server.images import preprocess_images
from strata_server.labels import Label, rank_labels
from strata_server.price import check_labels_price, check_price
from strata_server.repository import Repository
from strata_server.settings import Limits
from strata_server.tensors import Array, describe
from strata_server.version import Version


@dataclass(frozen=True)
class Pictures:
    """Encoded pictures for a model that takes one: a row each."""

    encoded: list[bytes]


Inputs = Mapping[str, Array] | Pictures
"""What enters: arrays by the name of the input, the empty name for a model's only input; or pictures."""


@dataclass(frozen=True)
class Answer:
    """What a version computed."""

    version: Version
    activations: dict[str, Array]
    """By layer, in the order asked."""
    labels: list[list[Label]]
    """For each row the best classes, where labels were asked."""


class Engine:
    """The models, and what can be asked of them."""

    def __init__(self, repository: Repository, limits: Limits) -> None:
        self.repository = repository
        self._limits = limits

    def predict(self, version: Version, inputs: Inputs, top_k: int = 0, *, deadline: Deadline) -> Answer:
        """Compute the default exits, and for each row the `top_k` best labels.

        Labels are a judgment, and there is none on what is not a number: asked for labels, it refuses an
        input with NaN or infinities, and scores with NaN.
        """
        exits = version.catalog.default_exits
        if top_k:
            _check_labels(exits, top_k)
        entries = self._enter(version, inputs, deadline)
        if not top_k:
            return Answer(version, self._leave(version, entries, exits, deadline), [])
        top_k = min(top_k, exits[0].shape[1])
        check_labels_price(_count_rows(entries), version.classes, top_k, self._limits.max_message_bytes)
        _check_finite(entries, "labels need numbers that are finite")
        activations = self._leave(version, entries, exits, deadline)
        _check_finite(activations, "the input leads to a score that is no number")
        return Answer(version, activations, rank_labels(activations[exits[0].name], version.classes, top_k))

    def activations(self, version: Version, inputs: Inputs, layers: list[str], *, deadline: Deadline) -> Answer:
        """Compute the activations of any layers, in the order asked, running only what they need.

        NaN and infinities pass as they are: an activation is data.
        """
        if not layers:
            raise InvalidArgument("expected the names of the layers wanted, received none")
        name, times = Counter(layers).most_common(1)[0]
        if times > 1:
            raise InvalidArgument(f"expected each layer once, received {quote(name)} {times} times")
        exits = [version.catalog.find(name) for name in layers]
        entries = self._enter(version, inputs, deadline)
        return Answer(version, self._leave(version, entries, exits, deadline), [])

    def _enter(self, version: Version, inputs: Inputs, deadline: Deadline) -> dict[str, Array]:
        if isinstance(inputs, Pictures):
            inputs = self._preprocess(version, inputs.encoded, deadline)
        return _check_entries(version, inputs)

    def _preprocess(self, version: Version, encoded: list[bytes], deadline: Deadline) -> dict[str, Array]:
        rule = version.preprocessing
        if rule is None or len(version.catalog.inputs) != 1:
            raise InvalidArgument(f"model {version.model} takes no pictures; expected arrays for its inputs")
        if not encoded:
            raise InvalidArgument("expected at least one picture, received none")
        check_price(len(encoded), version.catalog.inputs, self._limits.max_message_bytes)
        return {rule.input: preprocess_images(encoded, rule, self._limits.max_image_pixels, deadline)}

    def _leave(
        self, version: Version, entries: dict[str, Array], exits: Sequence[Layer], deadline: Deadline
    ) -> dict[str, Array]:
        check_price(_count_rows(entries), exits, self._limits.max_message_bytes)
        return version.run(entries, [layer.name for layer in exits], deadline)


def _check_labels(exits: Sequence[Layer], top_k: int) -> None:
    if top_k < 0:
        raise InvalidArgument(f"expected top_k of 0 or more, received {top_k}")
    if len(exits) != 1 or len(exits[0].shape) != 2:
        names = quote_all([layer.name for layer in exits])
        raise InvalidArgument(f"labels need one default exit of shape (-1, classes); this model has {names}")


def _count_rows(entries: Mapping[str, Array]) -> int:
    return len(next(iter(entries.values())))


def _check_entries(version: Version, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return the value of each input by its name, checked against the catalog."""
    expected = version.catalog.inputs
    entries = {name or expected[0].name: value for name, value in inputs.items()} if len(expected) == 1 else inputs
    if len(entries) != len(inputs):
        raise InvalidArgument(f"expected each input once, received {quote(expected[0].name)} twice")
    for name in entries:
        if version.catalog.find(name) not in expected:
            raise InvalidArgument(f"expected a value for an input, received one for the layer {quote(name)}")
    for layer in expected:
        if layer.name not in entries:
            raise InvalidArgument(f"expected a value for the input {quote(layer.name)}, received none")
        _check_entry(layer, entries[layer.name])
    rows = [len(value) for value in entries.values()]
    if len(set(rows)) != 1:
        raise InvalidArgument(f"expected the same number of rows in each input, received {sorted(set(rows))}")
    return dict(entries)


def _check_entry(layer: Layer, value: Array) -> None:
    fits = len(value.shape) == len(layer.shape) and all(
        size in {-1, received} for size, received in zip(layer.shape, value.shape, strict=True)
    )
    if not fits or value.dtype != layer.dtype:
        raise InvalidArgument(
            f"{quote(layer.name)}: expected {describe(layer.shape, layer.dtype)}, "
            f"received {describe(value.shape, value.dtype)}"
        )


def _check_finite(values: Mapping[str, Array], problem: str) -> None:
    for name, value in values.items():
        if not np.issubdtype(value.dtype, np.inexact):
            continue
        bad = ~np.isfinite(value)
        if bad.any():
            place = tuple(map(int, np.unravel_index(bad.argmax(), bad.shape)))
            raise InvalidArgument(f"{problem}: {quote(name)} holds {value[place]} in row {place[0]}, at {place}")
