import io
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strata_client import InvalidArgument
from strata_client.batch.rows import Failure, Source
from strata_client.batch.sources import open_source, stores
from strata_client.batch.sources.listing import Entry, Listing


def write_files(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(path.encode())


def list_keys(source: Source) -> list[str]:
    return [row.key for row in source.read(0, source.count)]


def read_only_row(where: str) -> object:
    source = open_source(where)
    try:
        (row,) = source.read(0, source.count)
    finally:
        source.close()
    return row.value


def test_a_folder_is_its_pictures_in_the_order_of_their_paths(tmp_path: Path) -> None:
    write_files(tmp_path, "b.png", "a/2.JPG", "a/10.jpeg", "a.png", "ü.png", "Z.png")
    source = open_source(str(tmp_path))
    rows = list(source.read(0, source.count))
    assert [row.key for row in rows] == ["Z.png", "a.png", "a/10.jpeg", "a/2.JPG", "b.png", "ü.png"]
    assert [row.value for row in rows] == [row.key.encode() for row in rows]
    source.close()


def test_what_is_hidden_is_left_out_and_what_is_no_picture_is_counted(tmp_path: Path) -> None:
    write_files(tmp_path, "a.png", ".b.png", ".c/d.png", "e.TXT", "f/g.txt", "README", "f/.DS_Store")
    source = open_source(str(tmp_path))
    assert (list_keys(source), source.skipped) == (["a.png"], {".txt": 2, "": 1})
    source.close()


def test_links_to_files_are_followed_and_links_to_folders_are_not(tmp_path: Path) -> None:
    write_files(tmp_path, "far/a.png", "near/b.png")
    near = tmp_path / "near"
    (near / "link.png").symlink_to(tmp_path / "far" / "a.png")
    (near / "round").symlink_to(tmp_path)
    (near / "folder.png").symlink_to(tmp_path)
    os.mkfifo(near / "pipe.png")
    source = open_source(str(near))
    assert list_keys(source) == ["b.png", "link.png"]
    source.close()


def test_a_link_to_nowhere_is_a_row_that_fails(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to("none.png")
    assert read_only_row(str(tmp_path)) == Failure("NOT_FOUND", "no such file")


@pytest.mark.parametrize(
    ("pattern", "keys"),
    [
        ("*/night-*.png", ["one/night-1.png", "two/night-2.png"]),
        ("one/*.png", ["day-1.png", "night-1.png"]),
        ("**/night-?.png", ["night-0.png", "one/night-1.png", "two/deep/night-3.png", "two/night-2.png"]),
        ("two/**", ["deep/night-3.png", "night-2.png"]),
        ("**/deep/**/*.png", ["two/deep/night-3.png"]),
        ("[!o]*/*.png", ["two/night-2.png"]),
        ("one/day-1.png", ["day-1.png"]),
    ],
)
def test_a_pattern_is_what_a_shell_makes_of_it(tmp_path: Path, pattern: str, keys: list[str]) -> None:
    write_files(tmp_path, "night-0.png", "one/night-1.png", "one/day-1.png", "two/night-2.png", "two/deep/night-3.png")
    write_files(tmp_path, "one/.hidden/night-1.png", "one/notes.txt")
    source = open_source(f"{tmp_path}/{pattern}")
    assert list_keys(source) == keys
    source.close()


def test_a_folder_with_brackets_in_its_name_is_no_pattern(tmp_path: Path) -> None:
    write_files(tmp_path, "a[1]/b.png", "a[1]/c[2].png")
    for where, keys in {"a[1]": ["b.png", "c[2].png"], "a[1]/c[2].png": ["c[2].png"]}.items():
        source = open_source(f"{tmp_path}/{where}")
        assert list_keys(source) == keys
        source.close()


def test_a_relative_pattern_may_be_read_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path, "a.png", "sub/b.png")
    monkeypatch.chdir(tmp_path)
    source = open_source("*.png")
    monkeypatch.chdir(tmp_path / "sub")
    assert [row.value for row in source.read(0, 1)] == [b"a.png"]
    source.close()


def test_hostile_names_become_valid_keys_and_are_read(tmp_path: Path) -> None:
    names = [b"bell\x07.png", b"line\nbreak.png", b"latin-\xe9.png", b"quo'te\".png"]
    for name in names:
        Path(os.fsdecode(bytes(tmp_path) + b"/" + name)).write_bytes(name)
    source = open_source(str(tmp_path))
    rows = list(source.read(0, source.count))
    assert [row.key for row in rows] == ["bell\x07.png", "latin-\\udce9.png", "line\nbreak.png", "quo'te\".png"]
    assert {row.value for row in rows} == set(names)
    source.close()


def test_names_that_become_one_key_are_refused(tmp_path: Path) -> None:
    for name in (b"latin-\xe9.png", b"latin-\\udce9.png"):
        Path(os.fsdecode(bytes(tmp_path) + b"/" + name)).write_bytes(name)
    with pytest.raises(InvalidArgument, match="expected each row once"):
        open_source(str(tmp_path))


def test_a_row_that_cannot_be_read_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "MAX_FILE_BYTES", 10)
    write_files(tmp_path, "a.png", "gone.png", "large-one.png", "z.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    source = open_source(str(tmp_path))
    (tmp_path / "gone.png").unlink()
    values = {row.key: row.value for row in source.read(0, source.count)}
    assert values == {
        "a.png": b"a.png",
        "gone.png": Failure("NOT_FOUND", "no such file"),
        "large-one.png": Failure("RESOURCE_EXHAUSTED", "expected at most 10 bytes; received 13 or more"),
        "loop.png": Failure("UNKNOWN", "Too many levels of symbolic links"),
        "z.png": b"z.png",
    }
    source.close()


def test_a_file_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    if os.geteuid():
        write_files(tmp_path, "a.png")
        (tmp_path / "a.png").chmod(0)
        found = read_only_row(str(tmp_path))
    else:
        found = stores.fail(PermissionError(13, "to root nobody says that", "/secret"))
    assert found == Failure("PERMISSION_DENIED", "this file may not be read")


def test_devices_pipes_and_folders_in_a_list_fail_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "a.txt").write_text("/dev/zero\npipe.png\n.\n")
    source = open_source(str(tmp_path / "a.txt"))
    codes = [row.value.code for row in source.read(0, 3) if isinstance(row.value, Failure)]
    assert codes == ["INVALID_ARGUMENT"] * 3
    source.close()


def test_a_file_larger_than_it_says_is_read_to_its_end() -> None:
    assert stores.read_file("/proc/self/stat") != b""  # it has 0 bytes, says the kernel


def test_the_digest_is_that_of_a_copy_and_changes_with_names_and_sizes(tmp_path: Path) -> None:
    folders = {"a": ("1.png", b"xy"), "copy": ("1.png", b"yx"), "name": ("2.png", b"xy"), "size": ("1.png", b"xyz")}
    digests: dict[str, str] = {}
    for folder, (name, data) in folders.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes(data)
        os.utime(tmp_path / folder / name, (len(digests), 0))
        source = open_source(str(tmp_path / folder))
        digests[folder] = source.digest
        source.close()
    assert digests["a"] == digests["copy"]
    assert len(set(digests.values())) == 3


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("", "empty name"),
        ("empty", "empty: expected pictures, which end in .png, .jpg, .jpeg; received no files"),
        ("other", "received 1 without an ending, 2 .gif"),
        ("other/*.jpg", "received no files"),
        ("other/a.gif", "received a file that ends in '.gif'"),
    ],
)
def test_what_holds_no_pictures_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    write_files(tmp_path, "other/a.gif", "other/b.gif", "other/notes")
    with pytest.raises(InvalidArgument) as refused:
        open_source(where)
    assert message in str(refused.value)


@pytest.mark.parametrize("where", ["none", "none/*.png", "none.tar", "none.parquet"])
def test_what_is_not_there_is_an_error_of_the_system(tmp_path: Path, where: str) -> None:
    with pytest.raises(FileNotFoundError):
        open_source(f"{tmp_path}/{where}")


def test_columns_of_what_has_none_are_refused(tmp_path: Path) -> None:
    write_files(tmp_path, "a.png")
    for where in (tmp_path, tmp_path / "a.png"):
        with pytest.raises(InvalidArgument, match="expected Parquet, as a column is named: 'image'"):
            open_source(str(where), image_column="image")


def test_a_list_names_pictures_beneath_its_folder_and_anywhere(tmp_path: Path) -> None:
    write_files(tmp_path, "lists/one.png", "two.png", "three.gif")
    lines = ["one.png", "", "../two.png", f"{tmp_path}/three.gif", "   ", "none.png"]
    (tmp_path / "lists" / "a.lst").write_bytes("\r\n".join(["\ufeffone.png", *lines[1:]]).encode())
    source = open_source(str(tmp_path / "lists" / "a.lst"))
    rows = list(source.read(0, source.count))
    assert [row.key for row in rows] == [lines[0], lines[2], lines[3], lines[5]]
    assert [row.value for row in rows] == [
        b"lists/one.png",
        b"two.png",
        b"three.gif",
        Failure("NOT_FOUND", "no such file"),
    ]
    source.close()


def test_a_list_comes_from_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path, "a.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"a.png\n")))
    assert read_only_row("-") == b"a.png"
    assert not sys.stdin.buffer.closed


def test_a_file_that_comes_later_leaves_the_digest_of_a_list_alone(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a.png\n")
    before = open_source(str(tmp_path / "a.txt"))
    write_files(tmp_path, "a.png")
    after = open_source(str(tmp_path / "a.txt"))
    assert before.digest == after.digest
    assert [row.value for row in before.read(0, 1)] == [b"a.png"]
    before.close()
    after.close()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\n  \n", "received no lines"),
        (b"a.png\n\nb.png\na.png\n", "line 1 and line 4 are both 'a.png'"),
        (b"a.png\nb\0.png\n", "line 2: expected a path or a URL"),
        (b"x" * 70_000, "line 1: expected a path or a URL"),
    ],
)
def test_a_list_that_is_none_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(InvalidArgument) as refused:
        open_source(str(tmp_path / "a.txt"))
    assert message in str(refused.value)


@settings(max_examples=50, deadline=None)
@given(keys=st.lists(st.text(st.characters(exclude_categories=["Cs"])), unique=True), data=st.data())
def test_a_listing_is_what_python_sorts(keys: list[str], data: st.DataObject) -> None:
    start, stop = (data.draw(st.integers(0, len(keys) + 1)) for _ in "ab")
    listing = Listing((Entry(key, len(key)) for key in keys), is_sorted=True)
    assert [entry.key for entry in listing.read(start, stop)] == sorted(keys)[start:stop]
    assert (listing.count, listing.twice) == (len(keys), None)
    listing.close()


_PEAK = """
import re, sys
from strata_client.batch.sources import open_source
source = open_source(sys.argv[1])
rows = sum(1 for _ in source.read(0, 1000))
print(source.count, re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""


def test_a_hundred_times_as_many_rows_take_no_more_memory(tmp_path: Path) -> None:
    peaks = []
    for count in (1_000, 100_000):
        (tmp_path / "a.txt").write_text("".join(f"pictures/of/this/{number:07}.png\n" for number in range(count)))
        command = [sys.executable, "-c", _PEAK, str(tmp_path / "a.txt")]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        found, kilobytes = map(int, done.stdout.split())
        assert found == count
        peaks.append(kilobytes)
    assert peaks[1] - peaks[0] < 6 * 1024, peaks  # the names alone have 3 MB, as Python objects 20
