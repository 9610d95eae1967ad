"""A change holds in all processes, or in none."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from strata_server.control import Change, Json, Listed, Subject, Values
from strata_server.coordination import Coordinator, Here
from strata_server.errors import Draining, InvalidArgument, NotFound, StrataError, Unservable
from strata_server.remote import RemoteControl, There
from waiting import wait_until


class Levels(Subject):
    """A subject that keeps what it is told, and refuses negative numbers."""

    def __init__(self) -> None:
        self.held: dict[str, Json] = {}
        self.prepared: list[Values] = []
        self.abandoned = 0
        self.prepares = threading.Event()
        self.may_prepare = threading.Event()
        self.may_prepare.set()

    def prepare(self, values: Values) -> None:
        """Refuse what is negative."""
        self.prepares.set()
        self.may_prepare.wait(20)
        if any(isinstance(value, int) and value < 0 for value in values.values()):
            raise InvalidArgument("expected a level from 0 up")
        self.prepared.append(values)

    def commit(self, values: Values) -> None:
        """Keep it."""
        self.prepared.remove(values)
        for key, value in values.items():
            self.held[key] = value

    def abandon(self, values: Values) -> None:
        """Forget it."""
        self.prepared.remove(values)
        self.abandoned += 1


class Strict(Levels):
    """A subject that refuses everything above 10 as well."""

    def prepare(self, values: Values) -> None:
        """Refuse it."""
        if any(isinstance(value, int) and value > 10 for value in values.values()):
            raise InvalidArgument("expected a level up to 10")
        super().prepare(values)


class Shelves:
    """Models that are loaded by name."""

    def __init__(self) -> None:
        self.loaded: list[str] = []

    def load(self, model: str) -> None:
        """Note it."""
        if model == "other":
            raise NotFound("unknown model 'other'")
        self.loaded.append(model)

    def unload(self, model: str) -> None:
        """Note it."""
        self.loaded.remove(model)

    def index(self) -> list[Listed]:
        """List what was noted."""
        return [Listed(model, "1", "READY") for model in self.loaded]


class Worker:
    """The two ends of a worker's line, in one process."""

    def __init__(self, coordinator: Coordinator, levels: Levels) -> None:
        self.levels = levels
        self.kills = 0
        ours, self._theirs = socket.socketpair()
        There(ours, coordinator, self._kill)
        self.control = RemoteControl(self._theirs)
        self.stopped = threading.Event()
        self._follows = False

    def follow(self) -> "Worker":
        """Follow changes."""
        self._follows = True
        self.control.follow({"levels": self.levels}, self.stopped.set)
        return self

    @property
    def has_ended(self) -> bool:
        """Whether nothing of it runs any more."""
        if not self._follows:
            self.control.close()
        return self.stopped.is_set() or not self._follows

    def _kill(self) -> None:
        self.kills += 1
        self.end()

    def end(self) -> None:
        """Be gone, as a process that has died."""
        with contextlib.suppress(OSError):  # it may have ended already
            self._theirs.shutdown(socket.SHUT_RDWR)


Hire = Callable[..., Worker]


@pytest.fixture
def coordinator() -> Iterator[Coordinator]:
    coordinator = Coordinator(patience_s=5)
    coordinator.models = Shelves()
    yield coordinator
    coordinator.close()


@pytest.fixture
def hire(coordinator: Coordinator) -> Iterator[Hire]:
    """Make workers, which are gone at the end."""
    workers = []

    def hire(levels: Levels | None = None, *, follows: bool = True) -> Worker:
        worker = Worker(coordinator, levels or Levels())
        workers.append(worker)
        return worker.follow() if follows else worker

    yield hire
    for worker in workers:
        worker.end()
        wait_until(lambda worker=worker: worker.has_ended)  # type: ignore[misc]


def change(**values: Json) -> Change:
    return Change("levels", values)


def test_a_change_holds_in_all_before_it_is_answered(coordinator: Coordinator, hire: Hire) -> None:
    here, there = Levels(), hire()
    coordinator.join(Here({"levels": here}))
    coordinator.change(change(a=1, b=2)).result(20)
    coordinator.change(change(b=None)).result(20)
    assert here.held == there.levels.held == {"a": 1, "b": None}


def test_a_change_that_one_refuses_holds_nowhere(coordinator: Coordinator, hire: Hire) -> None:
    lenient, strict = Levels(), hire(Strict())
    coordinator.join(Here({"levels": lenient}))
    with pytest.raises(InvalidArgument, match="up to 10"):
        coordinator.change(change(a=11)).result(20)
    assert (lenient.held, lenient.prepared, lenient.abandoned) == ({}, [], 1)
    assert not strict.levels.held
    coordinator.change(change(a=10)).result(20)
    assert lenient.held == strict.levels.held == {"a": 10}


def test_a_worker_asks_for_changes_and_gets_the_error_as_it_was_raised(hire: Hire) -> None:
    worker, other = hire(), hire()
    worker.control.change(change(a=1)).result(20)
    assert worker.levels.held == other.levels.held == {"a": 1}
    worker.control.load("tiny").result(20)
    assert other.control.index().result(20) == [Listed("tiny", "1", "READY")]
    with pytest.raises(NotFound, match="unknown model 'other'"):
        other.control.load("other").result(20)
    with pytest.raises(InvalidArgument, match="from 0 up"):
        other.control.change(change(a=-1)).result(20)
    other.control.unload("tiny").result(20)
    assert worker.control.index().result(20) == []


def test_one_that_starts_later_is_given_what_holds(coordinator: Coordinator, hire: Hire) -> None:
    coordinator.change(change(a=1, b=2, c=3)).result(20)
    coordinator.change(change(b=None, c=4)).result(20)
    worker = hire(follows=False)
    assert worker.control.table == {"levels": {"a": 1, "c": 4}}


def test_a_change_waits_for_one_that_starts_and_passes_over_one_that_has_died(
    coordinator: Coordinator, hire: Hire
) -> None:
    dead, starting = hire(), hire(follows=False)
    dead.end()
    asked = coordinator.change(change(a=1))
    assert not asked.done()
    starting.follow()
    asked.result(20)
    assert starting.levels.held == {"a": 1}


def test_one_that_dies_while_it_prepares_does_not_hold_up_the_others(coordinator: Coordinator, hire: Hire) -> None:
    slow, other = hire(), hire()
    slow.levels.may_prepare.clear()
    asked = coordinator.change(change(a=1))
    assert slow.levels.prepares.wait(20)
    slow.end()
    asked.result(20)
    assert other.levels.held == {"a": 1}
    slow.levels.may_prepare.set()


def test_what_ends_all_that_are_to_prepare_it_holds_nowhere(coordinator: Coordinator, hire: Hire) -> None:
    workers = [hire(), hire()]
    for worker in workers:
        worker.levels.may_prepare.clear()
    asked = coordinator.change(change(a=1))
    for worker in workers:
        assert worker.levels.prepares.wait(20)
        worker.end()
    with pytest.raises(Unservable, match="every process that was to make it ready has ended"):
        asked.result(20)
    assert hire(follows=False).control.table == {}
    for worker in workers:
        worker.levels.may_prepare.set()


def test_one_that_does_not_answer_is_ended_and_the_change_is_made_without_it(
    coordinator: Coordinator, hire: Hire
) -> None:
    slow, other = hire(), hire()
    slow.levels.may_prepare.clear()
    coordinator.change(change(a=1)).result(20)
    assert slow.kills == 1
    assert other.levels.held == {"a": 1}
    slow.levels.may_prepare.set()


def test_without_a_supervisor_a_worker_stops(hire: Hire) -> None:
    worker = hire()
    worker.end()
    wait_until(worker.stopped.is_set)


def test_many_changes_at_once_are_made_one_after_the_other(hire: Hire) -> None:
    workers = [hire() for _ in range(3)]
    asked = [worker.control.change(change(a=step)) for step in range(30) for worker in workers]
    for future in asked:
        future.result(20)
    held = {worker.levels.held["a"] for worker in workers}
    assert len(held) == 1


def test_after_the_end_nothing_is_changed() -> None:
    coordinator = Coordinator(patience_s=20)
    coordinator.close()
    with pytest.raises(Draining):
        coordinator.change(change(a=1))


def test_an_error_that_is_none_of_ours_stays_inside(hire: Hire) -> None:
    worker = hire()
    with pytest.raises(RuntimeError, match="KeyError") as caught:
        worker.control.change(Change("unheard", {})).result(20)
    assert not isinstance(caught.value, StrataError)
