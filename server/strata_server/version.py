import logging
import time
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache, partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort

from strata_server.artifact import Artifact
from strata_server.borders import narrow_exits, outer_names, widen_borders, widen_entries
from strata_server.catalog import Catalog, Layer
from strata_server.configuration.agreement import check_settings
from strata_server.configuration.model_settings import ModelSettings
from strata_server.deadline import Deadline
from strata_server.elements import STRING, held_bytes
from strata_server.errors import ArtifactError, InvalidArgument, Unimplemented, quote_all
from strata_server.figures import count_multiply_adds
from strata_server.graph import Graph
from strata_server.price import Price, reckon
from strata_server.reducing import summarize
from strata_server.reductions import Reduction
from strata_server.rows import are_independent
from strata_server.runtime import Runtime
from strata_server.sessions import Sessions
from strata_server.shapes import Known, Shapes
from strata_server.slice_cache import SliceCache
from strata_server.slicing import Part, Slicer
from strata_server.summaries import Summarizer
from strata_server.tensors import Array

# How the best number of rows is found: each is run so often, and those count as fast that differ by less than this.
_TURNS = 5
_AS_FAST = 1.05
_LARGEST_TILE = 128
# A multiply-add takes about so long, until it is measured.
_GUESSED_S = 5e-11
# Slices, and prices of them, that are remembered: enough for every layer of a large network, one by one.
_REMEMBERED = 4096
# What a session takes besides its weights: the graph, kernels, a thread's stack.
_SESSION_BYTES = 2**20
_NODE_BYTES = 2**13
# Measured by `make bench` against the resident set: a session's own layout of its weights, with padding and what the
# allocator cannot give back, and its use of the arena, which the sessions share.
_WEIGHT_SHARE = 1.15
_ACTIVATION_SHARE = 1.0
_NOTHING_SAID = ModelSettings()
_NO_FIGURES: Mapping[str, Reduction] = MappingProxyType({})

log = logging.getLogger(__name__)

Shape = tuple[int, ...]


class Version:
    """One version of a model, ready to run any slice of it."""

    def __init__(
        self,
        model: str,
        number: int,
        artifact: Artifact,
        runtime: Runtime,
        sessions: Sessions,
        cache: SliceCache | None = None,
        settings: ModelSettings = _NOTHING_SAID,
    ) -> None:
        """Take an artifact; nothing is made yet.

        Args:
            model: its name.
            number: its version.
            artifact: the network.
            runtime: makes the sessions.
            sessions: holds them, beside those of other versions.
            cache: keeps slices on disk; None for no cache.
            settings: what the model's folder says.

        Raises:
            ArtifactError: the settings say something else than the artifact.
        """
        check_settings(settings, artifact.catalog, runtime.device.name)
        self.model = model
        self.number = number
        self.digest = artifact.digest
        self.catalog = artifact.catalog
        self.settings = settings
        self.classes = settings.classes or artifact.classes
        self.preprocessing = artifact.preprocessing
        self.training = artifact.training
        self._is_foreign = artifact.is_foreign
        self._network = artifact.network
        self._slicer = Slicer(artifact.network.graph)
        self._shapes = Shapes(artifact.network.graph)
        self._runtime = runtime
        self._sessions = sessions
        self._cache = cache
        self._summarizer = Summarizer(runtime)
        self.has_device = runtime.device.name != "cpu"
        """Whether activations are computed elsewhere than in the memory of this process."""
        self.tile_rows = 1
        """How many rows at a time are the fastest, each for itself; `warm` measures it."""
        self._speed = _GUESSED_S
        self.is_retired = False
        """Whether it is served no more: what is remembered of it is to be forgotten."""
        # None of these refers to this object: it is freed with the last request, not when garbage is looked for.
        graph = artifact.network.graph
        self._batches = lru_cache(_REMEMBERED)(partial(_is_by_rows, graph, self.catalog, self._is_foreign))
        self._cost = lru_cache(_REMEMBERED)(partial(_cost, graph))
        self._find = lru_cache(_REMEMBERED)(self._slicer.find)
        self._reckon = lru_cache(_REMEMBERED)(partial(_reckon, graph, self._shapes))

    def warm(self) -> None:
        """Make the prediction's session and run it: a network that cannot run is found now.

        Raises:
            ArtifactError: it cannot, or gives another number of rows than it is given.
        """
        inputs, exits = self.catalog.inputs, _names(self.catalog.default_exits)
        part = self.find(_names(inputs), exits)
        self._sessions.pin(self, part)
        if any(-1 in _sizes(layer)[1:] for layer in inputs):
            return  # nothing says what sizes it takes
        for rows in (1,) if self._is_foreign else (1, 2):  # a batch that is frozen in the graph shows with the second
            values = self.run(part, {layer.name: _blank(layer, rows) for layer in inputs}, exits, Deadline())
            if not self._is_foreign and any(len(value) != rows for value in values.values()):
                raise ArtifactError(f"expected {rows} rows of each default exit for {rows} rows of its inputs")

    def measure(self, rows: int = 0, budget_s: float = 0.4) -> None:
        """Measure how long the prediction takes, and find the number of rows that is the fastest.

        Args:
            rows: take this number, and only the time of one.
            budget_s: how long it may take, about; a network too slow for that is not faster by the batch.
        """
        inputs = self.catalog.inputs
        part = self.find(_names(inputs), _names(self.catalog.default_exits))
        self.tile_rows = rows or 1
        if any(-1 in _sizes(layer)[1:] for layer in inputs):
            return
        batches = self.batches(part)
        times: dict[int, float] = {}
        spent_s, size = 0.0, 1
        while spent_s < budget_s and size <= _LARGEST_TILE:
            times[size] = self._time(part, size, budget_s)
            spent_s += times[size] * _TURNS
            if rows or not batches:
                break
            size *= 2
        self._speed = times[1] / self.cost(part)
        best_row_s = min(seconds / size for size, seconds in times.items())
        # The largest of those that are about as fast: fewer runs for the same rows.
        self.tile_rows = rows or max(size for size, seconds in times.items() if seconds / size < best_row_s * _AS_FAST)

    def _time(self, part: Part, rows: int, budget_s: float) -> float:
        """Return the shortest time of some runs with random rows, in seconds; of a slow network, of one."""
        random = np.random.default_rng(0)
        inputs = self.catalog.inputs
        shapes = [tuple(rows if size == -1 else size for size in _sizes(layer)) for layer in inputs]
        numbers = (random.random(shape) for shape in shapes)
        values = {
            layer.name: (number.astype(np.str_) if layer.dtype == STRING else number).astype(layer.dtype)
            for layer, number in zip(inputs, numbers, strict=True)
        }
        session = self.open(part, Deadline())
        times: list[float] = []
        while len(times) < _TURNS and sum(times) < budget_s:
            start = time.perf_counter()
            self.compute(session, part, values)
            times.append(time.perf_counter() - start)
        return min(times)

    def prepare(self, exits: Iterable[str]) -> None:
        """Make the session for a slice from the inputs; errors as in `find`."""
        names = [self.catalog.find(name).name for name in exits]
        self._sessions.get(self, self.find(_names(self.catalog.inputs), names), Deadline())

    def find(self, entries: Collection[str], exits: Collection[str]) -> Part:
        """Return the part of the network between entries and exits.

        Raises:
            InvalidArgument: the entries do not determine the exits, with the inputs that are missing.
        """
        return self._find(frozenset(entries), frozenset(exits))

    def price(self, part: Part, entries: Mapping[str, Shape]) -> Price:
        """Return what a run of a part with values of these shapes costs.

        Raises:
            InvalidArgument: the values contradict each other in a size, or have shapes that lead to no result.
        """
        shapes = tuple([(name, entries[name]) for name in part.slice.entries])
        return self._reckon(part, shapes)

    def run(
        self,
        part: Part,
        entries: Mapping[str, Array],
        exits: Iterable[str],
        deadline: Deadline,
        figures: Mapping[str, Reduction] = _NO_FIGURES,
    ) -> dict[str, Array]:
        """Return the activations of exits, in their order, running only what lies between.

        Args:
            part: of the entries and those of the exits that are not among them.
            entries: the values that enter.
            exits: names of layers, each once; one that is an entry is answered as it came.
            deadline: checked once the session is there.
            figures: exits that are no entries, of which only the figures of a reduction are returned.

        Raises:
            DeadlinePassed: nobody waits any more; nothing was run.
            InvalidArgument: the network has no result for these values, or has no such figures.
            Unimplemented: onnxruntime cannot run this part.
        """
        values = dict(entries)
        if part.slice.exits:
            session = self.open(part, deadline)
            deadline.check()
            values.update(self.compute(session, part, entries, figures))
        return {name: values[name] for name in exits}

    def peek(self, part: Part) -> onnxruntime.InferenceSession | None:
        """Return the session for a part if it is there."""
        return self._sessions.peek(self, part)

    def open(self, part: Part, deadline: Deadline) -> onnxruntime.InferenceSession:
        """Return the session for a part, made where it is not there.

        Raises:
            DeadlinePassed: nobody waits any more.
            Unimplemented: onnxruntime cannot run this part.
        """
        return self._sessions.get(self, part, deadline)

    def compute(
        self,
        session: onnxruntime.InferenceSession,
        part: Part,
        entries: Mapping[str, Array],
        figures: Mapping[str, Reduction] = _NO_FIGURES,
    ) -> dict[str, Array]:
        """Return the values of a part's exits; errors and arguments as in `run`."""
        computed = sorted(part.slice.exits)
        values = dict(zip(computed, self._run(session, part, entries, computed, figures), strict=True))
        return values if not figures or self._summarizes_there(part) else self.summarize(values, figures)

    def summarize(self, values: Mapping[str, Array], figures: Mapping[str, Reduction]) -> dict[str, Array]:
        """Return activations, of some only the figures of a reduction.

        Raises:
            InvalidArgument: there are no such figures.
        """
        return {
            name: summarize(name, figures[name], value, self.catalog.find(name).channel_axis)
            if name in figures
            else value
            for name, value in values.items()
        }

    def batches(self, part: Part) -> bool:
        """Say whether rows of several requests may run together: each row's result is of that row alone."""
        return self.settings.joins_requests and self._batches(part)

    def guess_row_s(self, part: Part) -> float:
        """Return about how long a row of a part takes, by how long a row of the prediction took, in seconds."""
        return self._speed * self.cost(part)

    def make(self, part: Part) -> onnxruntime.InferenceSession:
        """Return a new session for a part, from the cache where it is there.

        Raises:
            Unimplemented: onnxruntime cannot run it; the log says why.
        """
        kept = self._cache.fetch(self.digest, part.slice) if self._cache else None
        if kept:
            try:
                return self._runtime.reopen(kept)
            except Exception as error:  # noqa: BLE001 - onnxruntime's errors have no base class
                log.warning("model %s: a slice from the cache cannot be read: %s", self.model, error)
        try:
            return self._make_and_keep(self._cache, part) if self._cache else self._make(part)
        except Exception as error:
            foreseen = type(error).__module__.startswith("onnxruntime")
            exits = quote_all(sorted(part.slice.exits))
            log.error("model %s: no session for %s: %s", self.model, exits, error, exc_info=not foreseen)
            raise Unimplemented(
                f"model {self.model}: onnxruntime cannot run the way to {quote_all(sorted(part.slice.exits))}; "
                "the server's log says why"
            ) from error

    def weigh(self, part: Part) -> int:
        """Return about how much memory a session for a part takes, in bytes."""
        graph = self._network.graph
        computed = (name for place in part.nodes for name in graph.nodes[place].output if name not in graph.varying)
        weights = self._network.weight_bytes(part.weights) + sum(_count_bytes(graph, name) for name in computed)
        activations = reckon(graph, part, partial(_smallest_shape, graph)).activation_bytes
        return int(
            _SESSION_BYTES + _NODE_BYTES * len(part.nodes) + _WEIGHT_SHARE * weights + _ACTIVATION_SHARE * activations
        )

    def cost(self, part: Part) -> int:
        """Return about how much a run of a part for one row computes: multiply-adds, and one for each node."""
        return self._cost(part)

    def _make(self, part: Part, keep: Path | None = None) -> onnxruntime.InferenceSession:
        model = widen_borders(self._slicer.cut(part)).SerializeToString()
        return self._runtime.open(model, self._network.weights(part.weights), keep)

    def _make_and_keep(self, cache: SliceCache, part: Part) -> onnxruntime.InferenceSession:
        made: list[onnxruntime.InferenceSession] = []
        try:
            cache.store(self.digest, part.slice, lambda folder: made.append(self._make(part, folder)))
        except Exception:  # a full disk is one more reason, and no reason not to answer
            log.exception("model %s: a slice cannot be kept", self.model)
        return made[0] if made else self._make(part)

    def _run(
        self,
        session: onnxruntime.InferenceSession,
        part: Part,
        entries: Mapping[str, Array],
        exits: list[str],
        figures: Mapping[str, Reduction],
    ) -> list[Array]:
        values = {name: entries[name] for name in part.slice.entries}
        try:
            if figures and self._summarizes_there(part):
                return self._run_on_device(session, values, exits, figures)
            if self.catalog.bfloat16s:
                return self._run_widened(session, values, exits)
            return list(session.run(exits, values))
        except UnicodeDecodeError as error:
            log.warning("model %s: a run to %s gave bytes that are no UTF-8", self.model, quote_all(exits))
            raise Unimplemented(
                f"model {self.model}: {quote_all(exits)} came out as strings that are no UTF-8"
            ) from error
        except (ort.InvalidArgument, ort.RuntimeException, ort.Fail) as error:
            log.warning("model %s: a run to %s failed: %s", self.model, quote_all(exits), error)
            shapes = ", ".join(f"{quote_all([name])} {value.shape}" for name, value in sorted(values.items()))
            raise InvalidArgument(f"the network has no result for these values: {shapes}") from error

    def _run_widened(
        self, session: onnxruntime.InferenceSession, values: Mapping[str, Array], exits: list[str]
    ) -> list[Array]:
        bfloat16s = self.catalog.bfloat16s
        results = session.run(outer_names(exits, bfloat16s), widen_entries(values, bfloat16s))
        return narrow_exits(exits, results, bfloat16s)

    def _summarizes_there(self, part: Part) -> bool:
        """Say whether figures are taken where a part runs: not of one with strings, which no device holds."""
        return self.has_device and all(
            self.catalog.find(name).dtype != STRING for name in part.slice.entries | part.slice.exits
        )

    def _run_on_device(
        self,
        session: onnxruntime.InferenceSession,
        values: Mapping[str, Array],
        exits: list[str],
        figures: Mapping[str, Reduction],
    ) -> list[Array]:
        bfloat16s = self.catalog.bfloat16s
        binding = session.io_binding()
        for name, value in widen_entries(values, bfloat16s).items():
            binding.bind_cpu_input(name, value)
        for name, outer in zip(exits, outer_names(exits, bfloat16s), strict=True):
            binding.bind_output(outer, self._runtime.device.name if name in figures else "cpu")
        session.run_with_iobinding(binding)
        results = dict(zip(exits, binding.get_outputs(), strict=True))
        found = [
            self._summarizer.summarize(self.catalog.find(name), figures[name], result)
            if name in figures
            else result.numpy()
            for name, result in results.items()
        ]
        return narrow_exits(exits, found, bfloat16s)


def _is_by_rows(graph: Graph, catalog: Catalog, is_foreign: bool, part: Part) -> bool:
    layers = [catalog.find(name) for name in (*part.slice.entries, *part.slice.exits)]
    if any(_sizes(layer)[:1] != (-1,) for layer in layers):
        return False
    # The export of an artifact of ours has compared rows that ran alone with rows that ran together.
    return not is_foreign or are_independent(graph, part)


def _cost(graph: Graph, part: Part) -> int:
    nodes = (graph.nodes[place] for place in part.nodes)
    return sum(1 + (count_multiply_adds(node, partial(_smallest_shape, graph)) or 0) for node in nodes)


def _reckon(graph: Graph, known: Shapes, part: Part, shapes: tuple[tuple[str, Shape], ...]) -> Price:
    return reckon(graph, part, known.resolve(part, dict(shapes)))


def _smallest_shape(graph: Graph, name: str) -> Known:
    shape = graph.tensor(name).shape
    return None if shape is None else tuple(size if isinstance(size, int) else 1 for size in shape)


def _count_bytes(graph: Graph, name: str) -> int:
    dtype = graph.tensor(name).dtype
    return int(np.prod(_smallest_shape(graph, name) or (), dtype=object)) * (held_bytes(dtype) if dtype else 1)


def _names(layers: Iterable[Layer]) -> list[str]:
    return [layer.name for layer in layers]


def _sizes(layer: Layer) -> Shape:
    return layer.shape or ()


def _blank(layer: Layer, rows: int) -> Array:
    """Return rows of zeros for an input, or of empty strings."""
    shape = [rows if size == -1 else size for size in _sizes(layer)]
    return np.full(shape, "", STRING) if layer.dtype == STRING else np.zeros(shape, layer.dtype)
