"""Answers requests, whatever protocol they came over."""

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from strata_server.catalog import Layer
from strata_server.deadline import Deadline
from strata_server.errors import InvalidArgument, NotFound, OverLimit, quote, quote_all
from strata_server.images import Pictures, preprocess_images
from strata_server.labels import Label, name_labels, rank_labels
from strata_server.price import check_bytes, check_labels_price, check_price
from strata_server.reducing import finish, reduce
from strata_server.reductions import WHOLE, Reduction, check_reduction, check_sizes, reduced_bytes
from strata_server.repository import Repository
from strata_server.settings import Limits
from strata_server.slicing import Part
from strata_server.tensors import Array, describe
from strata_server.version import Version

Inputs = Mapping[str, Array] | Pictures
"""What enters: arrays by the names of inputs or layers, the empty name for a model's only input; or pictures."""


@dataclass(frozen=True)
class Answer:
    """What a version computed."""

    version: Version
    activations: dict[str, Array]
    """By layer, in the order asked."""
    channels: dict[str, Array] = field(default_factory=dict)
    """Which channels the activations of some layers hold, where the top ones were asked."""
    labels: list[list[Label]] = field(default_factory=list)
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
        with naming(version):
            exits = version.catalog.default_exits
            if top_k:
                _check_labels(exits, top_k)
            entries = self._enter(version, inputs, deadline)
            part = self._plan(version, entries, exits, dict.fromkeys(_names(exits), WHOLE))
            if not top_k:
                return Answer(version, version.run(part, entries, _names(exits), deadline))
            top_k = min(top_k, _shape(exits[0])[1])
            check_labels_price(_count_rows(entries), version.classes, top_k, self._limits.max_message_bytes)
            _check_finite(entries, "labels need numbers that are finite")
            activations = version.run(part, entries, _names(exits), deadline)
            _check_finite(activations, "the input leads to a score that is no number")
            labels = rank_labels(activations[exits[0].name], version.classes, top_k)
            return Answer(version, activations, labels=labels)

    def activations(
        self,
        version: Version,
        inputs: Inputs,
        layers: Sequence[str],
        reductions: Mapping[str, Reduction] | None = None,
        *,
        deadline: Deadline,
    ) -> Answer:
        """Compute the activations of any layers, in the order asked, running only what they need.

        NaN and infinities pass as they are: an activation is data.

        Args:
            version: of a model.
            inputs: what enters.
            layers: names, each once.
            reductions: what is done to the activations of some of them before they are sent.
            deadline: how long the caller waits.
        """
        with naming(version):
            exits = _find_exits(version, layers)
            asked = {layer.name: (reductions or {}).get(layer.name, WHOLE) for layer in exits}
            for layer in exits:
                if asked[layer.name] is not WHOLE:
                    _check_reduction(version, layer, asked[layer.name])
            entries = self._enter(version, inputs, deadline)
            part = self._plan(version, entries, exits, asked)
            figures = _find_figures(version, entries, asked)
            values = version.run(part, entries, _names(exits), deadline, figures)
            return self._reduce(version, values, asked, figures)

    def _enter(self, version: Version, inputs: Inputs, deadline: Deadline) -> dict[str, Array]:
        if isinstance(inputs, Pictures):
            inputs = self._preprocess(version, inputs.encoded, deadline)
        return _check_entries(version, inputs)

    def _preprocess(self, version: Version, encoded: list[bytes], deadline: Deadline) -> dict[str, Array]:
        rule = version.preprocessing
        if rule is None or len(version.catalog.inputs) != 1:
            raise InvalidArgument("it takes no pictures; expected arrays for its inputs")
        if not encoded:
            raise InvalidArgument("expected at least one picture, received none")
        layer = version.catalog.inputs[0]
        row_bytes = math.prod(_shape(layer)[1:]) * layer.dtype.itemsize
        check_bytes(len(encoded), row_bytes, [layer.name], self._limits.max_message_bytes)
        return {rule.input: preprocess_images(encoded, rule, self._limits.max_image_pixels, deadline)}

    def _plan(
        self, version: Version, entries: dict[str, Array], exits: Sequence[Layer], asked: Mapping[str, Reduction]
    ) -> Part:
        """Return the part of the network that is to run, found fit and not too expensive."""
        computed = [layer.name for layer in exits if layer.name not in entries]
        part = version.find(entries, computed)
        _refuse_idle(version, part, entries, exits)
        price = version.price(part, entries)
        names = _names(exits)
        sent = 0
        for layer in exits:
            shape = entries[layer.name].shape if layer.name in entries else price.shapes[layer.name]
            if shape is not None:
                check_sizes(layer.name, asked[layer.name], shape, layer.channel_axis)  # open sizes are known now
                sent += reduced_bytes(asked[layer.name], shape, layer.channel_axis, layer.dtype)
        rows = _count_rows(entries)
        check_bytes(rows, -(-sent // rows), names, self._limits.max_message_bytes)
        check_price(price, names, self._limits)
        return part

    def _reduce(
        self,
        version: Version,
        values: dict[str, Array],
        asked: Mapping[str, Reduction],
        figures: Collection[str],
    ) -> Answer:
        answer = Answer(version, {})
        for name, value in values.items():
            reduction = asked[name]
            if reduction is WHOLE:
                answer.activations[name] = value
                continue
            if reduction.top_labels:
                _check_finite({name: value}, "the input leads to a score that is no number")
            axis = version.catalog.find(name).channel_axis
            reduced = finish(reduction, value, axis) if name in figures else reduce(name, reduction, value, axis)
            answer.activations[name] = reduced.value
            if reduced.channels is not None:
                answer.channels[name] = reduced.channels
            if reduction.top_labels and reduced.channels is not None:
                top_k = reduced.channels.shape[1]
                check_labels_price(len(value), version.classes, top_k, self._limits.max_message_bytes)
                answer.labels.extend(name_labels(reduced.value, reduced.channels, version.classes))
        sent = sum(array.nbytes for array in (*answer.activations.values(), *answer.channels.values()))
        check_bytes(1, sent, list(values), self._limits.max_message_bytes)  # of some shapes only the run tells
        return answer


@contextmanager
def naming(version: Version) -> Iterator[None]:
    """Let errors say which model was asked."""
    try:
        yield
    except (InvalidArgument, NotFound, OverLimit) as error:
        raise type(error)(f"model {version.model}: {error}") from error


def _names(layers: Sequence[Layer]) -> list[str]:
    return [layer.name for layer in layers]


def _shape(layer: Layer) -> tuple[int, ...]:
    return layer.shape or ()


def _find_exits(version: Version, layers: Sequence[str]) -> list[Layer]:
    if not layers:
        raise InvalidArgument("expected the names of the layers wanted, received none")
    name, times = Counter(layers).most_common(1)[0]
    if times > 1:
        raise InvalidArgument(f"expected each layer once, received {quote(name)} {times} times")
    return [version.catalog.find(name) for name in layers]


def _check_labels(exits: Sequence[Layer], top_k: int) -> None:
    if top_k < 0:
        raise InvalidArgument(f"expected top_k of 0 or more, received {top_k}")
    shape = _shape(exits[0])
    if len(exits) != 1 or len(shape) != 2 or shape[1] < 1:
        names = quote_all(_names(exits))
        raise InvalidArgument(f"labels need one default exit of shape (-1, classes); this model has {names}")


def _check_reduction(version: Version, layer: Layer, reduction: Reduction) -> None:
    is_prediction = version.catalog.default_exits == (layer,)
    check_reduction(layer.name, reduction, layer.shape, layer.channel_axis, layer.dtype, is_prediction=is_prediction)


def _find_figures(
    version: Version, entries: Mapping[str, Array], asked: Mapping[str, Reduction]
) -> dict[str, Reduction]:
    """Return the reductions whose figures are taken where the activations are computed."""
    if not version.has_device:
        return {}
    return {name: each for name, each in asked.items() if each.takes_figures and name not in entries}


def _count_rows(entries: Mapping[str, Array]) -> int:
    value = next(iter(entries.values()))
    return len(value) if value.ndim else 1


def _check_entries(version: Version, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return what enters by the names of inputs and layers, each checked against the catalog."""
    expected = version.catalog.inputs
    if not inputs:
        raise InvalidArgument(f"expected a value for the input {quote_all(_names(expected))}, received none")
    entries = {name or expected[0].name: value for name, value in inputs.items()} if len(expected) == 1 else inputs
    if len(entries) != len(inputs):
        raise InvalidArgument(f"expected each input once, received {quote(expected[0].name)} twice")
    for name, value in entries.items():
        _check_entry(version.catalog.find(name), value)
    return dict(entries)


def _check_entry(layer: Layer, value: Array) -> None:
    fits = layer.shape is None or (
        len(value.shape) == len(layer.shape)
        and all(size in {-1, received} for size, received in zip(layer.shape, value.shape, strict=True))
    )
    if not fits or value.dtype != layer.dtype:
        expected = f"{layer.dtype.name} of any shape" if layer.shape is None else describe(layer.shape, layer.dtype)
        raise InvalidArgument(
            f"{quote(layer.name)}: expected {expected}, received {describe(value.shape, value.dtype)}"
        )


def _refuse_idle(version: Version, part: Part, entries: Mapping[str, Array], exits: Sequence[Layer]) -> None:
    """Refuse a layer's value that changes nothing asked: whoever sends it believes that it does.

    An input may come along: of several, a layer often depends on one alone.
    """
    needed = {*part.slice.entries, *_names(exits), *_names(version.catalog.inputs)}
    for name in entries:
        if name not in needed:
            raise InvalidArgument(
                f"the value for {quote(name)} changes nothing in {quote_all(_names(exits))}: leave it out"
            )


def _check_finite(values: Mapping[str, Array], problem: str) -> None:
    for name, value in values.items():
        if not np.issubdtype(value.dtype, np.inexact):
            continue
        bad = ~np.isfinite(value)
        if bad.any():
            place = tuple(map(int, np.unravel_index(bad.argmax(), bad.shape)))
            raise InvalidArgument(f"{problem}: {quote(name)} holds {value[place]} in row {place[0]}, at {place}")
