import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import onnxruntime
import pytest
from artifacts import tiny_model
from strata_server.sessions import Sessions
from strata_server.slicing import Slice, Slicer


class CountingCut:
    """Cuts as a Slicer does, and counts."""

    def __init__(self) -> None:
        self._slicer = Slicer(tiny_model())
        self.made: list[frozenset[str]] = []
        self.broken = False

    def __call__(self, wanted: Slice) -> bytes:
        self.made.append(wanted.exits)
        if self.broken:
            raise OSError("no memory")
        return self._slicer.cut(wanted)


@pytest.fixture
def cut() -> CountingCut:
    return CountingCut()


def to(*exits: str) -> Slice:
    return Slice.between(["image"], exits)


def test_a_session_is_made_once_for_a_hundred_who_ask_at_the_same_moment(cut: CountingCut) -> None:
    sessions = Sessions(cut, threads=1, most=8)
    together = threading.Barrier(100, timeout=20)

    def ask() -> onnxruntime.InferenceSession:
        together.wait()
        return sessions.get(to("flat"))

    with ThreadPoolExecutor(100) as pool:
        found = list(pool.map(lambda _: ask(), range(100)))
    assert len(set(map(id, found))) == 1
    assert cut.made == [{"flat"}]


def test_the_order_of_the_exits_is_not_another_slice(cut: CountingCut) -> None:
    sessions = Sessions(cut, threads=1, most=8)
    assert sessions.get(to("flat", "double")) is sessions.get(to("double", "flat"))


def test_the_least_used_session_makes_room(cut: CountingCut) -> None:
    sessions = Sessions(cut, threads=1, most=2)
    for name in ("double", "flat", "double", "scores", "double", "flat"):
        sessions.get(to(name))
    assert cut.made == [{"double"}, {"flat"}, {"scores"}, {"flat"}]


def test_a_session_that_others_wait_for_is_not_let_go(cut: CountingCut) -> None:
    sessions = Sessions(cut, threads=1, most=1)
    cutting, go_on = threading.Event(), threading.Event()
    whole_cut = cut._slicer.cut

    def wait(wanted: Slice) -> bytes:
        if "flat" in wanted.exits:
            cutting.set()
            assert go_on.wait(20)
        return whole_cut(wanted)

    cut._slicer.cut = wait  # type: ignore[method-assign] # a slow disk, for a moment
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(sessions.get, to("flat"))
        assert cutting.wait(20)
        sessions.get(to("double"))
        go_on.set()
        assert sessions.get(to("flat")) is first.result()


def test_a_pinned_session_stays(cut: CountingCut) -> None:
    sessions = Sessions(cut, threads=1, most=1)
    sessions.pin(to("predictions"))
    for name in ("double", "flat", "predictions", "scores", "predictions"):
        sessions.get(to(name))
    assert cut.made.count(frozenset({"predictions"})) == 1


def test_a_session_that_could_not_be_made_is_tried_again(cut: CountingCut) -> None:
    sessions = Sessions(cut, threads=1, most=8)
    cut.broken = True
    with pytest.raises(OSError, match="no memory"):
        sessions.get(to("flat"))
    cut.broken = False
    assert sessions.get(to("flat")).get_outputs()[0].name == "flat"


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
