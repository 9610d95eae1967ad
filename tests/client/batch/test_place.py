import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from strata_client import InvalidArgument, ResourceExhausted
from strata_client.batch.place import Place

HOLD = """
import sys
from strata_client.batch.place import Place
with Place(sys.argv[1]).locked():
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(params=["path", "file", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A folder by its path, by its URL, and one that is at a URL alone."""
    wheres = {"path": f"{tmp_path}/a b/out", "file": f"{tmp_path.as_uri()}/a%20b/out", "memory": "memory://a b/out"}
    place = Place(wheres[request.param])
    place.make()
    yield place
    place.remove("")


def put(place: Place, name: str, data: bytes) -> None:
    with place.replacing(name) as file:
        file.write(data)


def begin(file: IO[bytes]) -> None:
    file.write(b"newer")
    raise KeyError


def test_a_file_is_there_when_all_of_it_is_written(place: Place) -> None:
    with place.replacing("one") as file:
        file.write(b"123")
        assert not place.exists("one")
    with place.open("one") as file:
        assert (file.seek(1), file.read()) == (1, b"23")
    assert (place.size("one"), place.list()) == (3, ["one"])


def test_a_file_takes_the_place_of_another(place: Place) -> None:
    put(place, "one", b"old")
    put(place, "one", b"newer")
    assert (place.size("one"), place.list()) == (5, ["one"])


def test_after_an_error_the_old_file_is_there_and_nothing_else(place: Place) -> None:
    put(place, "one", b"old")
    with pytest.raises(KeyError), place.replacing("one") as file:
        begin(file)
    assert (place.size("one"), place.list()) == (3, ["one"])


def test_names_are_sorted_and_what_is_missing_holds_none(place: Place) -> None:
    for name in ("b", "a", "c"):
        put(place, name, b"")
    assert place.list() == ["a", "b", "c"]
    assert place.list("none") == []
    assert Place(place.where + "/none").list() == []


def test_a_folder_is_no_file(place: Place) -> None:
    beneath = Place(place.where + "/beneath")
    beneath.make()
    put(beneath, "one", b"1")
    assert (place.exists("beneath"), place.exists("beneath/one"), place.list("beneath")) == (False, True, ["one"])


def test_what_is_missing_cannot_be_opened_and_need_not_be_removed(place: Place) -> None:
    with pytest.raises(FileNotFoundError), place.open("none"):
        pass
    place.remove("none")


def test_a_folder_is_removed_with_what_is_in_it(place: Place) -> None:
    beneath = Place(place.where + "/beneath")
    beneath.make()
    put(beneath, "one", b"1")
    place.remove("beneath")
    assert place.list() == []


def test_only_what_a_killed_writer_left_is_cleaned_away(place: Place) -> None:
    others = [".strata", ".strata-0123456789abcdef", ".strata-mine.part", "x.strata-0123456789abcdef.part"]
    for name in (*others, ".strata-0123456789abcdef.part"):
        put(place, name, b"")
    place.clean()
    assert place.list() == sorted(others)


def test_a_finished_file_moves_out_over_what_is_there(place: Place) -> None:
    beneath = Place(place.where + "/beneath")
    beneath.make()
    put(beneath, "one", b"new")
    put(place, "one", b"old one")
    beneath.publish("one", f"{place.where}/one")
    assert (place.size("one"), beneath.list()) == (3, [])


def test_a_place_travels_to_other_processes(place: Place) -> None:
    put(place, "one", b"123")
    assert pickle.loads(pickle.dumps(place)).size("one") == 3  # noqa: S301 - our own bytes


def test_only_a_folder_of_this_machine_has_a_path(tmp_path: Path) -> None:
    assert Place(str(tmp_path)).folder == str(tmp_path)
    assert Place((tmp_path / "größe").as_uri()).folder == f"{tmp_path}/größe"
    assert Place("memory://out").folder is None


def test_another_process_in_the_folder_is_refused_with_its_number_until_it_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "locked\n"
        expected = rf"{tmp_path}: process {holder.pid} is at work there; wait until it ends"
        with pytest.raises(ResourceExhausted, match=expected), Place(str(tmp_path)).locked():
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait(20)
    with Place(str(tmp_path)).locked():
        assert (tmp_path / "_lock").read_text() == f"{os.getpid()}\n"


def test_a_folder_is_locked_for_the_same_process_as_well_and_free_afterwards(tmp_path: Path) -> None:
    place = Place(str(tmp_path))
    for _ in range(2):
        with place.locked(), pytest.raises(ResourceExhausted, match=f"process {os.getpid()}"), place.locked():
            pass


def test_a_place_at_a_url_has_no_lock() -> None:
    place = Place("memory://unlocked")
    with place.locked(), place.locked():
        assert place.list() == []


def test_a_folder_needs_no_fsspec_and_a_url_says_so(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['fsspec'] = None\n"
        "from strata_client.batch.place import Place\n"
        "with Place(sys.argv[1]).replacing('one') as file: file.write(b'1')\n"
        "Place('s3://bucket/out')"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (tmp_path / "one").read_bytes() == b"1"
    assert done.stderr.endswith("MissingExtra: fsspec is not installed: pip install 'strata-client[batch]'\n")


@pytest.mark.parametrize("where", ["nowhere://bucket/out", "s3://bucket/out"])
def test_a_url_that_nothing_here_can_open_is_refused(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(InvalidArgument, match=f"{where}: "):
        Place(where)


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "full").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"is not a regular file: '.*full'"), Place(str(tmp_path)).replacing("full"):
        pass
