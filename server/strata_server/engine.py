"""Answers requests, whatever protocol they came over."""

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial

import numpy as np

from strata_server.catalog import Layer
from strata_server.deadline import Deadline
from strata_server.elements import STRING, ElementType, is_float, is_ordered, name_type
from strata_server.errors import InvalidArgument, NotFound, OverLimit, StrataError, quote, quote_all
from strata_server.images import Pictures, preprocess_images
from strata_server.labels import Label, name_labels, rank_labels
from strata_server.plans import DEFAULT_PRIORITY, Outcome, Plan, Task
from strata_server.price import check_bytes, check_labels_price, check_price
from strata_server.reducing import finish, reduce
from strata_server.reductions import WHOLE, Reduction, check_reduction, check_sizes, reduced_bytes
from strata_server.repository import Repository
from strata_server.settings import Limits
from strata_server.slicing import Part
from strata_server.tallies import SliceKind, Tallies
from strata_server.tensors import Array, count_bytes, describe, narrow
from strata_server.version import Version

# Plans of requests that differ in their shapes or in what they ask for.
_REMEMBERED = 4096

Signature = tuple[tuple[str, tuple[int, ...], ElementType], ...]
"""What enters: names, shapes and types."""
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
    rankings: dict[str, list[list[Label]]] = field(default_factory=dict)
    """The same for layers that were to be ranked, in place of their activations."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request that was found fit: what is to run, and what is made of its values."""

    task: Task
    finish: Callable[[dict[str, Array]], Answer]
    """Takes the values of the exits asked, in their order."""

    def answer(self, outcome: Outcome) -> Answer:
        """Return the answer.

        Args:
            outcome: the values of the exits of the part that has run, or what went wrong, which is raised.

        Raises:
            InvalidArgument: the values are none that what was asked can be made of.
            OverLimit: only they tell that the answer is too large.
        """
        try:
            if isinstance(outcome, Exception):
                raise outcome
            return self.finish(self.task.order(outcome))
        except (InvalidArgument, NotFound, OverLimit) as error:
            raise _name(self.task.plan.version, error) from error

    def run(self) -> Answer:
        """Return the answer by a run of its own, here and now; errors as in `answer` and `Version.run`."""
        task, plan = self.task, self.task.plan
        exits = plan.part.slice.exits
        return self.answer(plan.version.run(plan.part, task.entries, exits, task.deadline, plan.figures))


class Engine:
    """The models, and what can be asked of them."""

    def __init__(self, repository: Repository, limits: Limits, tallies: Tallies | None = None) -> None:
        self.repository = repository
        self.tallies = tallies or Tallies()
        self._limits = limits
        self._remembered = lru_cache(_REMEMBERED)(self._plan_anew)
        repository.follow(self.forget)

    def predict(
        self,
        version: Version,
        inputs: Inputs,
        top_k: int = 0,
        *,
        deadline: Deadline,
        priority: int = DEFAULT_PRIORITY,
    ) -> Question:
        """Ask for the default exits, and for each row for the `top_k` best labels.

        Labels are a judgment, and there is none on what is not a number: asked for labels, it refuses an
        input with NaN or infinities, and scores with NaN.
        """
        with naming(version):
            exits = version.catalog.default_exits
            if top_k:
                _check_labels(exits, top_k)
            task = self._enter(version, inputs, tuple([layer.name for layer in exits]), (), deadline, priority)
            if not top_k:
                return self._ask(task)
            top_k = min(top_k, _shape(exits[0])[1])
            check_labels_price(task.plan.rows, version.classes, top_k, self._limits.max_message_bytes)
            _check_finite(task.entries, "labels need numbers that are finite")
            return Question(task, partial(_rank, version, top_k))

    def activations(
        self,
        version: Version,
        inputs: Inputs,
        layers: Sequence[str],
        reductions: Mapping[str, Reduction] | None = None,
        *,
        deadline: Deadline,
        priority: int = DEFAULT_PRIORITY,
    ) -> Question:
        """Ask for the activations of any layers, in the order asked: only what they need is run.

        NaN and infinities pass as they are: an activation is data.

        Args:
            version: of a model.
            inputs: what enters.
            layers: names, each once.
            reductions: what is done to the activations of some of them before they are sent.
            deadline: how long the caller waits.
            priority: a lower number runs earlier.
        """
        asked = tuple(reductions.get(name, WHOLE) for name in layers) if reductions else ()
        with naming(version):
            task = self._enter(version, inputs, tuple(layers), asked, deadline, priority)
        if all(each is WHOLE for each in asked):
            return self._ask(task)
        return Question(task, partial(self._reduce, version, dict(zip(layers, asked, strict=True)), task.plan.figures))

    def rank(self, question: Question, tops: Mapping[str, int]) -> Question:
        """Ask for the best classes of each row of some layers in place of their activations.

        As in `predict`, nothing that is not a number is ranked.

        Args:
            question: which asks for the layers, whole.
            tops: how many classes, from 1 up, by layer.

        Raises:
            InvalidArgument: a layer has no row of classes, or what enters is not finite.
            OverLimit: more labels than an answer may hold.
        """
        task = question.task
        version = task.plan.version
        with naming(version):
            for name, top in tops.items():
                width = _width(version.catalog.find(name))
                if width != -1:
                    self._check_ranking(version, task.plan.rows, min(top, width))
            _check_finite(task.entries, "labels need numbers that are finite")
        return replace(question, finish=partial(self._rank_layers, version, tops, question.finish))

    def _rank_layers(
        self,
        version: Version,
        tops: Mapping[str, int],
        finish: Callable[[dict[str, Array]], Answer],
        values: dict[str, Array],
    ) -> Answer:
        answer = finish(values)
        rankings = {}
        for name, top in tops.items():
            scores = answer.activations[name]
            _check_finite({name: scores}, "the input leads to a score that is no number")
            self._check_ranking(version, len(scores), min(top, scores.shape[1]))
            rankings[name] = rank_labels(scores, class_names(version, name, scores.shape[1]), top)
        return replace(answer, rankings=rankings)

    def _check_ranking(self, version: Version, rows: int, top: int) -> None:
        check_labels_price(rows, version.classes, top, self._limits.max_message_bytes)

    def _enter(
        self,
        version: Version,
        inputs: Inputs,
        layers: tuple[str, ...],
        asked: tuple[Reduction, ...],
        deadline: Deadline,
        priority: int,
    ) -> Task:
        if isinstance(inputs, Pictures):
            _find_exits(version, layers)  # before the work of decoding
            inputs = self._preprocess(version, inputs.encoded, deadline)
        entries = _name_entries(version, inputs)
        if version.catalog.bfloat16s:
            entries = _narrow_entries(version, entries)
        signature = tuple([(name, value.shape, value.dtype) for name, value in entries.items()])
        plan = self._plan(version, signature, layers, asked)
        if plan.takes_strings:
            plan = replace(plan, entry_bytes=sum(map(count_bytes, entries.values())))
        return Task(plan, entries, deadline, priority)

    def _ask(self, task: Task) -> Question:
        """Return the question whose answer are the activations as they are."""
        version = task.plan.version
        return Question(task, partial(Answer, version) if task.plan.is_sized else partial(self._weigh, version))

    def _weigh(self, version: Version, values: dict[str, Array]) -> Answer:
        """Return activations that only the run has told the size of."""
        check_bytes(1, sum(map(count_bytes, values.values())), list(values), self._limits.max_message_bytes)
        return Answer(version, values)

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

    def forget(self) -> None:
        """Forget the ways of requests, which hold versions that may be served no more."""
        self._remembered.cache_clear()

    def _plan(
        self, version: Version, signature: Signature, layers: tuple[str, ...], asked: tuple[Reduction, ...]
    ) -> Plan:
        plan = self._remembered(version, signature, layers, asked)
        if version.is_retired:  # perhaps since it was asked: nothing may keep it
            self.forget()
        return plan

    def _plan_anew(
        self, version: Version, signature: Signature, layers: tuple[str, ...], asked: tuple[Reduction, ...]
    ) -> Plan:
        """Return the way of a request, found fit and not too expensive."""
        exits = _find_exits(version, layers)
        reductions = dict(zip(layers, asked or (WHOLE,) * len(layers), strict=True))
        for layer in exits:
            if reductions[layer.name] is not WHOLE:
                _check_reduction(version, layer, reductions[layer.name])
        for name, shape, dtype in signature:
            _check_entry(version.catalog.find(name), shape, dtype)
        shapes = {name: shape for name, shape, _ in signature}
        part = version.find(shapes, [name for name in layers if name not in shapes])
        _refuse_idle(version, part, shapes, exits)
        price = version.price(part, shapes)
        first = signature[0][1]
        rows = first[0] if first else 1
        sent = 0
        for layer in exits:
            sizes = shapes[layer.name] if layer.name in shapes else price.shapes[layer.name]
            if sizes is not None:
                # Open sizes are known now.
                check_sizes(layer.name, reductions[layer.name], sizes, layer.channel_axis)
                sent += reduced_bytes(reductions[layer.name], sizes, layer.channel_axis, layer.dtype)
        check_bytes(rows, -(-sent // rows), layers, self._limits.max_message_bytes)
        check_price(price, layers, self._limits)
        figures = {name: each for name, each in reductions.items() if each.takes_figures and name not in shapes}
        entering = [(name, shape, dtype) for name, shape, dtype in signature if name in part.slice.entries]
        batches = version.batches(part) and len({shape[0] for _, shape, _ in entering}) == 1
        return Plan(
            version=version,
            part=part,
            exits=layers,
            figures=figures,
            rows=rows,
            entry_bytes=sum(math.prod(shape) * dtype.itemsize for _, shape, dtype in signature),
            row_bytes=-(-price.activation_bytes // rows),
            line=(version, frozenset((name, shape[1:] if batches else shape) for name, shape, _ in entering)),
            group=(part, frozenset(figures.items())),
            batches=batches,
            kind=_find_kind(version, shapes, layers),
            takes_strings=any(dtype == STRING for _, _, dtype in signature),
            is_sized=not any(
                layer.dtype == STRING or (layer.name not in shapes and price.shapes[layer.name] is None)
                for layer in exits
            ),
        )

    def _reduce(
        self,
        version: Version,
        asked: Mapping[str, Reduction],
        figures: Collection[str],
        values: dict[str, Array],
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
        sent = sum(map(count_bytes, (*answer.activations.values(), *answer.channels.values())))
        check_bytes(1, sent, list(values), self._limits.max_message_bytes)  # of some shapes only the run tells
        return answer


def class_names(version: Version, layer: str, width: int) -> tuple[str, ...]:
    """Return the names of a layer's classes; none but a layer of the prediction has any.

    Args:
        version: whose layer it is.
        layer: its name.
        width: how many classes its rows have.
    """
    is_exit = any(each.name == layer for each in version.catalog.default_exits)
    return version.classes if is_exit and len(version.classes) == width else ()


def _width(layer: Layer) -> int:
    """Return how many classes the rows of a layer have, -1 where only a run tells."""
    shape = layer.shape or ()
    if len(shape) != 2 or not is_ordered(layer.dtype):
        expected = "classification needs an output of shape (rows, classes)"
        raise InvalidArgument(f"{expected}; {quote(layer.name)} has {describe(shape, layer.dtype)}")
    return shape[1]


@contextmanager
def naming(version: Version) -> Iterator[None]:
    """Let errors say which model was asked."""
    try:
        yield
    except (InvalidArgument, NotFound, OverLimit) as error:
        raise _name(version, error) from error
    except StrataError as error:
        error.about = (version.model, version.number)
        raise


def _name(version: Version, error: StrataError) -> StrataError:
    named = type(error)(f"model {version.model}: {error}")
    named.about = (version.model, version.number)
    return named


def _rank(version: Version, top_k: int, values: dict[str, Array]) -> Answer:
    """Return the prediction with its labels."""
    _check_finite(values, "the input leads to a score that is no number")
    (scores,) = values.values()
    return Answer(version, values, labels=rank_labels(scores, version.classes, top_k))


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
    if len(exits) != 1 or len(shape) != 2 or shape[1] < 1 or not is_ordered(exits[0].dtype):
        names = quote_all(_names(exits))
        raise InvalidArgument(f"labels need one default exit of numbers of shape (-1, classes); this model has {names}")


def _check_reduction(version: Version, layer: Layer, reduction: Reduction) -> None:
    is_prediction = version.catalog.default_exits == (layer,)
    check_reduction(layer.name, reduction, layer.shape, layer.channel_axis, layer.dtype, is_prediction=is_prediction)


def _name_entries(version: Version, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
    """Return what enters by the names of inputs and layers."""
    expected = version.catalog.inputs
    if not inputs:
        raise InvalidArgument(f"expected a value for the input {quote_all(_names(expected))}, received none")
    if len(expected) != 1 or "" not in inputs:
        return inputs
    entries = {name or expected[0].name: value for name, value in inputs.items()}
    if len(entries) != len(inputs):
        raise InvalidArgument(f"expected each input once, received {quote(expected[0].name)} twice")
    return entries


def _narrow_entries(version: Version, entries: Mapping[str, Array]) -> Mapping[str, Array]:
    """Return what enters, with float32 values that come for a layer of bfloat16 as such.

    Who asks for its activation without a type of numpy's for it gets float32, and may send that back.
    """
    bfloat16s = version.catalog.bfloat16s
    return {
        name: narrow(name, value) if name in bfloat16s and value.dtype == np.float32 else value
        for name, value in entries.items()
    }


def _check_entry(layer: Layer, shape: tuple[int, ...], dtype: ElementType) -> None:
    fits = layer.shape is None or (
        len(shape) == len(layer.shape)
        and all(size in {-1, received} for size, received in zip(layer.shape, shape, strict=True))
    )
    if not fits or dtype != layer.dtype:
        expected = (
            f"{name_type(layer.dtype)} of any shape" if layer.shape is None else describe(layer.shape, layer.dtype)
        )
        raise InvalidArgument(f"{quote(layer.name)}: expected {expected}, received {describe(shape, dtype)}")


def _find_kind(version: Version, entries: Iterable[str], exits: Sequence[str]) -> SliceKind:
    if not set(_names(version.catalog.inputs)).issuperset(entries):
        return SliceKind.REENTRY
    is_prediction = sorted(exits) == sorted(_names(version.catalog.default_exits))
    return SliceKind.PREDICTION if is_prediction else SliceKind.ACTIVATION


def _refuse_idle(version: Version, part: Part, entries: Iterable[str], exits: Sequence[Layer]) -> None:
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
        if not is_float(value.dtype):
            continue
        bad = ~np.isfinite(value)
        if bad.any():
            place = tuple(map(int, np.unravel_index(bad.argmax(), bad.shape)))
            raise InvalidArgument(f"{problem}: {quote(name)} holds {value[place]} in row {place[0]}, at {place}")
