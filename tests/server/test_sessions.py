import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import onnxruntime
import pytest
from artifacts import tiny_model
from strata_server.deadline import Deadline
from strata_server.errors import DeadlinePassed
from strata_server.network import Network
from strata_server.runtime import Runtime, choose_device
from strata_server.sessions import Sessions
from strata_server.settings import DeviceSettings
from strata_server.slicing import Part, Slicer

WEIGHT = 100


class CountingMaker:
    """Makes sessions of the tiny model as a Version does, and counts."""

    is_retired = False

    def __init__(self) -> None:
        network = Network(tiny_model())
        self._slicer = Slicer(network.graph)
        self._network = network
        self._runtime = Runtime(choose_device(DeviceSettings(device="cpu")), threads=1)
        self.made: list[frozenset[str]] = []
        self.hinder: Callable[[Part], None] = lambda _: None

    def to(self, *exits: str) -> Part:
        """Return the part from the input to some exits."""
        return self._slicer.find({"image"}, exits)

    def make(self, part: Part) -> onnxruntime.InferenceSession:
        """Make it, unless something hinders."""
        self.made.append(part.slice.exits)
        self.hinder(part)
        return self._runtime.open(self._slicer.cut(part).SerializeToString(), self._network.weights(part.weights))

    def weigh(self, part: Part) -> int:  # noqa: ARG002 - a maker has it
        """Say that all are alike."""
        return WEIGHT

    def cost(self, part: Part) -> int:
        """Say that each node costs alike."""
        return len(part.nodes)


@pytest.fixture
def maker() -> CountingMaker:
    return CountingMaker()


def get(sessions: Sessions, maker: CountingMaker, *exits: str) -> onnxruntime.InferenceSession:
    return sessions.get(maker, maker.to(*exits), Deadline(20))


def test_a_session_is_made_once_for_a_hundred_who_ask_at_the_same_moment(maker: CountingMaker) -> None:
    sessions = Sessions(8 * WEIGHT)
    together = threading.Barrier(100, timeout=20)

    def ask() -> onnxruntime.InferenceSession:
        together.wait()
        return get(sessions, maker, "flat")

    with ThreadPoolExecutor(100) as pool:
        found = list(pool.map(lambda _: ask(), range(100)))
    assert len(set(map(id, found))) == 1
    assert maker.made == [{"flat"}]


def test_the_order_of_the_exits_is_not_another_slice(maker: CountingMaker) -> None:
    sessions = Sessions(8 * WEIGHT)
    assert get(sessions, maker, "flat", "double") is get(sessions, maker, "double", "flat")


def test_versions_do_not_share_sessions(maker: CountingMaker) -> None:
    sessions, other = Sessions(8 * WEIGHT), CountingMaker()
    assert get(sessions, maker, "flat") is not get(sessions, other, "flat")


def test_the_least_used_session_makes_room(maker: CountingMaker) -> None:
    sessions = Sessions(2 * WEIGHT)
    for name in ("double", "flat", "double", "scores", "double", "flat"):
        get(sessions, maker, name)
        assert sessions.held_bytes <= 2 * WEIGHT
    assert maker.made == [{"double"}, {"flat"}, {"scores"}, {"flat"}]


def test_a_session_that_others_wait_for_is_not_let_go(maker: CountingMaker) -> None:
    sessions = Sessions(WEIGHT)
    making, go_on = threading.Event(), threading.Event()

    def wait(part: Part) -> None:
        if "flat" in part.slice.exits:
            making.set()
            assert go_on.wait(20)

    maker.hinder = wait
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(get, sessions, maker, "flat")
        assert making.wait(20)
        get(sessions, maker, "double")
        go_on.set()
        first.result(20)
    assert maker.made == [{"flat"}, {"double"}]


def test_a_session_that_is_being_made_holds_up_no_other(maker: CountingMaker) -> None:
    sessions = Sessions(8 * WEIGHT)
    get(sessions, maker, "double")
    making, go_on = threading.Event(), threading.Event()

    def wait(_: Part) -> None:
        making.set()
        assert go_on.wait(20)

    maker.hinder = wait
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(get, sessions, maker, "flat")
        assert making.wait(20)
        assert get(sessions, maker, "double").get_outputs()[0].name == "double"
        assert not slow.done()
        go_on.set()
        assert slow.result(20).get_outputs()[0].name == "flat"


def test_who_waits_for_a_session_waits_no_longer_than_its_deadline(maker: CountingMaker) -> None:
    sessions = Sessions(8 * WEIGHT)
    making, go_on = threading.Event(), threading.Event()

    def wait(_: Part) -> None:
        making.set()
        assert go_on.wait(20)

    maker.hinder = wait
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(get, sessions, maker, "flat")
        assert making.wait(20)
        with pytest.raises(DeadlinePassed):
            sessions.get(maker, maker.to("flat"), Deadline(0.05))
        go_on.set()
        slow.result(20)


def test_a_pinned_session_stays_and_takes_nothing_from_the_budget(maker: CountingMaker) -> None:
    sessions = Sessions(WEIGHT)
    sessions.pin(maker, maker.to("predictions"))
    assert sessions.held_bytes == 0
    for name in ("double", "flat", "predictions", "scores", "predictions"):
        get(sessions, maker, name)
    assert maker.made.count(frozenset({"predictions"})) == 1


def test_where_the_budget_is_full_one_that_costs_little_more_answers(maker: CountingMaker) -> None:
    sessions = Sessions(WEIGHT)
    both = get(sessions, maker, "double", "flat")
    assert get(sessions, maker, "flat") is both
    assert get(sessions, maker, "double") is both
    assert maker.made == [{"double", "flat"}]


def test_one_that_costs_much_more_does_not_stand_in(maker: CountingMaker) -> None:
    sessions = Sessions(WEIGHT)
    deep = get(sessions, maker, "double", "predictions")
    assert get(sessions, maker, "double") is not deep


def test_where_there_is_room_nothing_stands_in(maker: CountingMaker) -> None:
    sessions = Sessions(2 * WEIGHT)
    assert get(sessions, maker, "double", "flat") is not get(sessions, maker, "flat")


def test_a_session_larger_than_the_budget_answers_and_pushes_none_out(
    maker: CountingMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = Sessions(2 * WEIGHT)
    small = get(sessions, maker, "double")
    monkeypatch.setattr(maker, "weigh", lambda _: 3 * WEIGHT)
    assert get(sessions, maker, "scores").get_outputs()[0].name == "scores"
    assert sessions.held_bytes == WEIGHT
    assert get(sessions, maker, "double") is small


def test_a_session_that_could_not_be_made_is_tried_again(maker: CountingMaker) -> None:
    sessions = Sessions(8 * WEIGHT)

    def fail(_: Part) -> None:
        raise OSError("no memory")

    maker.hinder = fail
    with pytest.raises(OSError, match="no memory"):
        get(sessions, maker, "flat")
    maker.hinder = lambda _: None
    assert get(sessions, maker, "flat").get_outputs()[0].name == "flat"


def test_telemetry_is_off_before_onnxruntime_is_imported() -> None:
    # A process of its own, as another test may have imported onnxruntime already.
    program = (
        "import sys, os, importlib.abc\n"
        "class Watch(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'onnxruntime': print(os.environ.get('ORT_DISABLE_TELEMETRY'))\n"
        "sys.meta_path.insert(0, Watch())\n"
        "import strata_server.serve\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "1\n"


def test_slices_larger_than_the_budget_answer_whoever_asks_whenever(maker: CountingMaker) -> None:
    sessions = Sessions(WEIGHT - 1)
    layers = ("double", "flat", "scores", "predictions")

    def ask(number: int) -> None:
        for turn in range(20):
            session = get(sessions, maker, layers[(number + turn) % len(layers)])
            assert session.get_outputs()

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(ask, range(16)))
    assert sessions.held_bytes == 0


def test_of_a_retired_maker_nothing_is_kept(maker: CountingMaker) -> None:
    sessions = Sessions(10 * WEIGHT)
    sessions.pin(maker, maker.to("predictions"))
    get(sessions, maker, "scores")
    maker.is_retired = True
    sessions.release(maker)
    assert sessions.peek(maker, maker.to("predictions")) is None
    assert sessions.held_bytes == 0
    # A request that came before is still answered.
    assert get(sessions, maker, "scores").get_outputs()[0].name == "scores"
    assert sessions.held_bytes == 0


def test_a_session_that_was_being_made_for_a_retired_maker_answers_and_goes(maker: CountingMaker) -> None:
    sessions = Sessions(10 * WEIGHT)
    begun, go_on = threading.Event(), threading.Event()

    def hinder(_: Part) -> None:
        begun.set()
        go_on.wait(20)

    maker.hinder = hinder
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(get, sessions, maker, "scores")
        assert begun.wait(20)
        maker.is_retired = True
        sessions.release(maker)
        go_on.set()
        assert asked.result(20).get_outputs()[0].name == "scores"
    assert sessions.held_bytes == 0
