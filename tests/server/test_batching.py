from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from artifacts import SIDE, assert_close, tiny_answer, write_artifact
from strata_server.artifact import read_artifact
from strata_server.batching import Batcher
from strata_server.deadline import Deadline
from strata_server.engine import Engine, Question
from strata_server.errors import DeadlinePassed, InvalidArgument, Overloaded
from strata_server.plans import DEFAULT_PRIORITY, Outcome
from strata_server.reductions import Pooling, Reduction
from strata_server.repository import Repository
from strata_server.runtime import Runtime, choose_device
from strata_server.sessions import Sessions
from strata_server.settings import BatchSettings, DeviceSettings, Limits
from strata_server.version import Version
from waiting import wait_until

Floats = npt.NDArray[np.float32]


class Counting(Version):
    """The tiny artifact; it notes the rows of each run."""

    runs: list[int]

    def compute(self, session: Any, part: Any, entries: Mapping[str, Any], figures: Any = None) -> dict[str, Any]:
        rows = len(next(iter(entries.values())))
        self.runs.append(rows)
        if any(np.isnan(value).any() for value in entries.values()):
            raise InvalidArgument("the network has no result for these values")
        return super().compute(session, part, entries, figures or {})


@pytest.fixture
def version(tmp_path_factory: pytest.TempPathFactory) -> Counting:
    runtime = Runtime(choose_device(DeviceSettings(device="cpu")), threads=1)
    path = write_artifact(tmp_path_factory.mktemp("models"))
    version = Counting("tiny", 1, read_artifact(path), runtime, Sessions(2**30))
    version.runs = []
    version.warm()
    for layer in ("double", "flat", "scores"):
        version.prepare([layer])
    version.runs.clear()
    return version


@pytest.fixture
def engine(version: Counting) -> Engine:
    return Engine(Repository([version]), Limits())


def images(rows: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).random((rows, SIDE, SIDE, 1), np.float32)


class Callers:
    """Ask a batcher whose runs happen only when `run` is called."""

    def __init__(self, engine: Engine, **settings: int) -> None:
        self.batcher = Batcher(BatchSettings(**{"rows": 8, **settings}))
        self._engine = engine
        self.told: list[str] = []
        self.outcomes: dict[str, Outcome] = {}
        self.questions: dict[str, Question] = {}

    def ask(
        self,
        name: str,
        values: Floats,
        layers: Sequence[str] = ("scores",),
        deadline: Deadline | None = None,
        priority: int = DEFAULT_PRIORITY,
        reductions: Mapping[str, Reduction] | None = None,
    ) -> None:
        version = self._engine.repository.find("tiny")
        question = self._engine.activations(
            version, {"image": values}, layers, reductions, deadline=deadline or Deadline(60), priority=priority
        )
        self.questions[name] = question
        self.batcher.submit(question.task, self._note(name), here=True)

    def run(self) -> None:
        while self.batcher.run_ready() == 0:
            pass

    def value(self, name: str, layer: str = "scores") -> Floats:
        return np.asarray(self.questions[name].answer(self.outcomes[name]).activations[layer])

    def _note(self, name: str) -> Callable[[Outcome], None]:
        def tell(outcome: Outcome) -> None:
            assert name not in self.outcomes
            self.told.append(name)
            self.outcomes[name] = outcome

        return tell


@pytest.fixture
def callers(engine: Engine) -> Callers:
    return Callers(engine)


def test_rows_of_several_requests_run_together_and_are_counted_as_rows(callers: Callers, version: Counting) -> None:
    asked = {name: images(rows, seed) for seed, (name, rows) in enumerate([("a", 1), ("b", 4), ("c", 3), ("d", 2)])}
    for name, values in asked.items():
        callers.ask(name, values)
    callers.run()
    assert version.runs == [8, 2]
    for name, values in asked.items():
        assert_close(callers.value(name), tiny_answer(values)["scores"])
    assert callers.batcher.is_idle


def test_a_large_request_runs_in_tiles_and_holds_a_small_one_up_for_one_of_them(
    callers: Callers, version: Counting
) -> None:
    large, small = images(30), images(1, 1)
    callers.ask("large", large)
    callers.ask("small", small)
    callers.run()
    assert version.runs == [8, 8, 8, 7]
    assert callers.told == ["small", "large"]
    assert_close(callers.value("large"), tiny_answer(large)["scores"])
    assert_close(callers.value("small"), tiny_answer(small)["scores"])


def test_a_request_that_fits_a_tile_is_never_divided(callers: Callers, version: Counting) -> None:
    callers.ask("a", images(5))
    callers.ask("b", images(5))
    callers.run()
    assert version.runs == [5, 5]


def test_the_most_urgent_runs_first(engine: Engine) -> None:
    callers = Callers(engine, rows=1)
    for name, priority in (("ordinary", 100), ("later", 200), ("first", 1), ("ordinary too", 100)):
        callers.ask(name, images(1), priority=priority)
    callers.run()
    assert callers.told == ["first", "ordinary", "ordinary too", "later"]


def test_different_exits_share_a_run_once_its_slice_is_there(callers: Callers, version: Counting) -> None:
    version.prepare(["flat", "scores"])
    for turn in range(8):
        callers.ask(f"flat {turn}", images(1, turn), ["flat"])
        callers.ask(f"scores {turn}", images(1, turn + 100), ["scores", "image"])
        callers.run()
    assert sum(version.runs) == 16
    assert 2 in version.runs
    for turn in range(8):
        assert_close(callers.value(f"flat {turn}", "flat"), tiny_answer(images(1, turn))["flat"])
        assert_close(callers.value(f"scores {turn}"), tiny_answer(images(1, turn + 100))["scores"])
        assert set(callers.questions[f"flat {turn}"].answer(callers.outcomes[f"flat {turn}"]).activations) == {"flat"}


def test_what_is_pooled_shares_a_run_and_no_figure_feels_the_rows_beside_it(
    callers: Callers, version: Counting
) -> None:
    mean = {"double": Reduction(pooling=Pooling.MEAN)}
    version.prepare(["double", "scores"])
    large = np.full((1, SIDE, SIDE, 1), 1e38, np.float32)  # whose sum is beyond a float32, and whose mean is not
    for turn in range(8):
        callers.ask(f"mean {turn}", images(2, turn), ["double"], reductions=mean)
        callers.ask(f"large {turn}", large, ["double"], reductions=mean)
        callers.ask(f"scores {turn}", images(1, turn + 100))
        callers.run()
    assert 4 in version.runs
    assert set(version.runs) <= {1, 3, 4}
    for turn in range(8):
        alone = callers.questions[f"mean {turn}"].run().activations["double"]
        np.testing.assert_array_equal(callers.value(f"mean {turn}", "double"), alone)
        assert_close(alone, tiny_answer(images(2, turn))["double"].mean((1, 2)))
        np.testing.assert_allclose(callers.value(f"large {turn}", "double"), [[2e38]], rtol=1e-5)
        assert_close(callers.value(f"scores {turn}"), tiny_answer(images(1, turn + 100))["scores"])


def test_the_error_of_one_is_not_told_to_the_others(callers: Callers) -> None:
    callers.ask("right", images(2))
    callers.ask("wrong", np.full((1, SIDE, SIDE, 1), np.nan, np.float32))
    callers.ask("also right", images(1, 1))
    callers.run()
    assert_close(callers.value("right"), tiny_answer(images(2))["scores"])
    assert_close(callers.value("also right"), tiny_answer(images(1, 1))["scores"])
    with pytest.raises(InvalidArgument, match="model tiny: the network has no result"):
        callers.value("wrong")


def test_a_caller_who_has_hung_up_is_dropped_unrun(callers: Callers, version: Counting) -> None:
    gone = Deadline(60)
    callers.ask("gone", images(1), deadline=gone)
    callers.ask("here", images(1))
    gone.hang_up()
    callers.run()
    assert version.runs == [1]
    assert isinstance(callers.outcomes["gone"], DeadlinePassed)
    assert callers.batcher.is_idle


@pytest.mark.parametrize("limit", [{"queue_rows": 4}, {"queue_bytes": 4 * SIDE * SIDE * 4}])
def test_a_full_queue_refuses_and_takes_again_once_it_has_run(engine: Engine, limit: dict[str, int]) -> None:
    callers = Callers(engine, **limit)
    callers.ask("first", images(3))
    with pytest.raises(Overloaded, match=r"model tiny: expected at most .* received 2 rows behind 3"):
        callers.ask("second", images(2))
    callers.ask("third", images(1))
    callers.run()
    callers.ask("second again", images(2))
    callers.run()
    assert callers.told == ["first", "third", "second again"]


def test_a_request_larger_than_the_queue_is_taken_when_nothing_waits(engine: Engine) -> None:
    callers = Callers(engine, queue_rows=4)
    callers.ask("large", images(20))
    callers.run()
    assert_close(callers.value("large"), tiny_answer(images(20))["scores"])


def test_a_deadline_that_cannot_be_made_is_refused_at_once(callers: Callers, monkeypatch: pytest.MonkeyPatch) -> None:
    callers.ask("first", images(1))
    callers.run()
    (line,) = callers.batcher._lines.values()
    (group,) = line.groups.values()
    monkeypatch.setattr(group.timing, "predict", lambda rows: 0.5 * rows)
    callers.ask("waits", images(8))
    with pytest.raises(Overloaded, match="the answer would take"):
        callers.ask("hopeless", images(1), deadline=Deadline(2))
    callers.ask("hopeful", images(1), deadline=Deadline(60))
    callers.ask("urgent", images(1), deadline=Deadline(2), priority=1)
    callers.run()
    assert callers.told[:2] == ["first", "urgent"]


def test_with_nothing_before_it_even_a_short_deadline_is_tried(
    callers: Callers, monkeypatch: pytest.MonkeyPatch
) -> None:
    callers.ask("first", images(1))
    callers.run()
    (line,) = callers.batcher._lines.values()
    (group,) = line.groups.values()
    monkeypatch.setattr(group.timing, "predict", lambda rows: 100.0 * rows)
    callers.ask("alone", images(1), deadline=Deadline(20))
    callers.run()
    assert_close(callers.value("alone"), tiny_answer(images(1))["scores"])


def test_a_batch_waits_no_longer_than_allowed_and_not_at_all_once_it_is_full(engine: Engine, version: Counting) -> None:
    callers = Callers(engine, wait_us=10**6)
    callers.ask("waits", images(1))
    again_s = callers.batcher.run_ready()
    assert again_s
    assert 0 < again_s <= 1
    assert version.runs == []
    callers.ask("fills", images(7))
    callers.run()
    assert version.runs == [8]


def test_a_slice_that_is_not_there_is_made_while_others_run(callers: Callers) -> None:
    callers.ask("new", images(1), ["double", "predictions"])
    callers.ask("ready", images(1), ["scores"])
    callers.run()
    assert callers.told[0] == "ready"
    wait_until(lambda: "new" in callers.told)
    assert_close(callers.value("new", "predictions"), tiny_answer(images(1))["predictions"])
    wait_until(lambda: callers.batcher.is_idle)
