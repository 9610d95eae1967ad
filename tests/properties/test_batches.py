"""Any mix of requests at the same time gives each exactly what it would get alone."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
from artifacts import SIDE, assert_close, tiny_answer, write_artifact
from hypothesis import given, settings
from hypothesis import strategies as st
from strata_server.artifact import read_artifact
from strata_server.batching import Batcher
from strata_server.deadline import Deadline
from strata_server.engine import Answer, Engine
from strata_server.errors import DeadlinePassed, Overloaded
from strata_server.plans import Outcome
from strata_server.repository import Repository
from strata_server.runtime import Runtime, choose_device
from strata_server.sessions import Sessions
from strata_server.settings import BatchSettings, DeviceSettings, Limits
from strata_server.version import Version
from waiting import wait_until

LAYERS = ("image", "double", "flat", "scores", "predictions")
WAIT_S = 20


@dataclass(frozen=True)
class Asked:
    """One request of a mix."""

    entry: str
    exits: tuple[str, ...]
    rows: int
    seed: int
    priority: int
    is_late: bool

    @property
    def values(self) -> npt.NDArray[np.float32]:
        """Different for each request, so that a row of another shows."""
        image = np.random.default_rng(self.seed).normal(size=(self.rows, SIDE, SIDE, 1)).astype(np.float32)
        return tiny_answer(image)[self.entry]

    def expected(self) -> dict[str, npt.NDArray[np.float32]]:
        image = np.random.default_rng(self.seed).normal(size=(self.rows, SIDE, SIDE, 1)).astype(np.float32)
        return {name: tiny_answer(image)[name] for name in self.exits}


@st.composite
def requests(draw: st.DrawFn) -> Asked:
    entry = draw(st.sampled_from(LAYERS[:3]))
    later = LAYERS[LAYERS.index(entry) :]
    exits = draw(st.lists(st.sampled_from(later), min_size=1, unique=True))
    return Asked(
        entry,
        tuple(exits),
        rows=draw(st.integers(1, 40)),
        seed=draw(st.integers(0, 2**32)),
        priority=draw(st.sampled_from([1, 100, 100, 100, 200])),
        is_late=draw(st.sampled_from([False, False, False, False, True])),
    )


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    path = write_artifact(tmp_path_factory.mktemp("models"))
    runtime = Runtime(choose_device(DeviceSettings(device="cpu")), threads=1)
    return Engine(Repository([Version("tiny", 1, read_artifact(path), runtime, Sessions(2**30))]), Limits())


class Caller:
    """Asks one question, and keeps what came of it."""

    def __init__(self, engine: Engine, asked: Asked) -> None:
        self.asked = asked
        self.outcomes: list[Outcome] = []
        self.done = threading.Event()
        deadline = Deadline(0) if asked.is_late else Deadline(WAIT_S)
        version = engine.repository.find("tiny")
        self.question = engine.activations(
            version, {asked.entry: asked.values}, asked.exits, deadline=deadline, priority=asked.priority
        )

    def tell(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.done.set()

    def submit(self, batcher: Batcher) -> None:
        try:
            batcher.submit(self.question.task, self.tell)
        except (DeadlinePassed, Overloaded) as error:
            self.tell(error)

    def answer(self) -> Answer:
        assert self.done.wait(WAIT_S)
        (outcome,) = self.outcomes
        return self.question.answer(outcome)


@settings(max_examples=60, deadline=None)
@given(mix=st.lists(requests(), min_size=1, max_size=30), tile=st.integers(1, 24), wait_us=st.sampled_from([0, 500]))
def test_each_gets_exactly_the_rows_and_layers_that_it_would_get_alone(
    engine: Engine, mix: list[Asked], tile: int, wait_us: int
) -> None:
    batcher = Batcher(BatchSettings(rows=tile, wait_us=wait_us))
    callers = [Caller(engine, asked) for asked in mix]
    together(lambda caller: caller.submit(batcher), callers)
    for caller in callers:
        if caller.asked.is_late and set(caller.asked.exits) != {caller.asked.entry}:
            with pytest.raises(DeadlinePassed):
                caller.answer()
            continue
        found = caller.answer().activations
        expected = caller.asked.expected()
        assert list(found) == list(caller.asked.exits)
        for name, value in found.items():
            assert value.shape == expected[name].shape
            assert_close(value, expected[name])
    wait_until(lambda: batcher.is_idle)  # a session for two groups may still be made


def together(act: Callable[[Caller], None], callers: list[Caller]) -> None:
    """Let each act on a thread of its own, all at the same moment."""
    barrier = threading.Barrier(len(callers), timeout=WAIT_S)

    def begin(caller: Caller) -> None:
        barrier.wait()
        act(caller)

    threads = [threading.Thread(target=begin, args=(caller,)) for caller in callers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
