import io
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strata_client import InvalidArgument, ResourceExhausted, archives, sources

ROWS = np.arange(8, dtype=np.float32).reshape(2, 4)


def npy(array: npt.NDArray[Any], **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def npz(write: Callable[..., None] = np.savez, **arrays: npt.NDArray[Any]) -> bytes:
    file = io.BytesIO()
    write(file, **arrays)
    return file.getvalue()


def zipped(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name.replace("_npy", ".npy"), data)
    return file.getvalue()


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, bytes], str]:
    def write(name: str, data: bytes) -> str:
        (tmp_path / name).write_bytes(data)
        return str(tmp_path / name)

    return write


Write = Callable[[str, bytes], str]


@pytest.mark.parametrize("name", ["a.npy", "a.NPY"])
def test_an_npy_file_is_an_array(write: Write, name: str) -> None:
    found = sources.read(write(name, npy(ROWS)))
    np.testing.assert_array_equal(np.asarray(found), ROWS)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_file_is_arrays_by_name(write: Write, save: Callable[..., None]) -> None:
    found = sources.read(write("a.npz", npz(save, conv1=ROWS, pool1=-ROWS)))
    assert isinstance(found, dict)
    assert list(found) == ["conv1", "pool1"]
    np.testing.assert_array_equal(found["pool1"], -ROWS)


def test_what_was_saved_is_read_again_under_any_name(tmp_path: Path) -> None:
    arrays = {"block/conv:0": ROWS, "file": ROWS + 1, "größe 猫": ROWS + 2}
    archives.save(arrays, tmp_path / "a.npz")
    found = sources.read(str(tmp_path / "a.npz"))
    assert isinstance(found, dict)
    assert list(found) == list(arrays)


def test_any_other_file_is_a_picture_and_read_later() -> None:
    assert sources.read("/none/seven.png") == "/none/seven.png"


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.npy", b"no array", "expected an .npy file of numbers or text"),
        ("a.npy", b"", "expected an .npy file of numbers or text"),
        ("a.npy", npy(ROWS)[:-1], "expected an .npy file of numbers or text"),
        ("a.npy", npy(np.array([{}]), allow_pickle=True), "Object arrays cannot be loaded"),
        ("a.npy", npz(a=ROWS), "expected an .npy file of numbers or text"),
        ("a.npz", b"no archive", "expected an .npz file of numbers or text; File is not a zip file"),
        ("a.npz", npy(ROWS), "expected an .npz file of numbers or text"),
        ("a.npz", npz(a=np.array([{}])), "Object arrays cannot be loaded"),
        ("a.npz", zipped(), "expected arrays, each name once; received 0 members"),
        ("a.npz", zipped(readme=b"hello"), "its member 'readme' does not end in .npy"),
        ("a.npz", zipped(a_npy=b"hello"), "expected an .npy file of numbers or text"),
        ("a.npz", npz(a=ROWS)[:-30], "expected an .npz file of numbers or text"),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(write: Write, name: str, data: bytes, message: str) -> None:
    path = write(name, data)
    with pytest.raises(InvalidArgument) as caught:
        sources.read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


@pytest.mark.filterwarnings("ignore:Duplicate name")  # zipfile says so as well, when it writes it
def test_a_name_that_comes_twice_is_refused() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for _ in range(2):
            archive.writestr("a.npy", npy(ROWS))
    with pytest.raises(InvalidArgument, match="each name once; received 2 members"):
        archives.read_arrays(file.getvalue(), "a.npz", 10_000)


def test_a_small_file_that_grows_is_refused_before_it_does() -> None:
    bomb = npz(np.savez_compressed, a=np.zeros(10**7, np.uint8))
    assert len(bomb) < 20_000
    with pytest.raises(ResourceExhausted, match=r"a.npz holds 10,000,128 bytes; a message may have 1,000,000"):
        archives.read_arrays(bomb, "a.npz", 1_000_000)


def test_a_small_file_that_says_it_stays_small_does() -> None:
    size = 10**8
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(size))
    lying = file.getvalue().replace(struct.pack("<I", size), struct.pack("<I", 1000))
    tracemalloc.start()
    with pytest.raises(InvalidArgument):
        archives.read_arrays(lying, "a.npz", 1_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < size / 10


def test_a_compression_that_numpy_does_not_write_is_refused() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a.npy", npy(ROWS))
    with pytest.raises(InvalidArgument, match="compressed otherwise"):
        archives.read_arrays(file.getvalue(), "a.npz", 1_000_000)


def test_a_header_that_asks_for_more_than_there_is_is_refused() -> None:
    honest = npy(np.zeros((1, 4), np.float32))
    lying = honest.replace(b"(1, 4), }            ", b"(1000000, 9999999), }")
    assert lying != honest
    with pytest.raises(InvalidArgument, match=r"a\.npy: expected an \.npy file of numbers or text; "):
        archives.read_array(lying, "a.npy")


def test_a_file_without_an_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "zero.npy").symlink_to("/dev/zero")
    with pytest.raises(ResourceExhausted, match="larger than a message may be"):
        sources.read(str(tmp_path / "zero.npy"))


GOOD = {"npy": npy(ROWS), "npz": npz(a=ROWS), "compressed": npz(np.savez_compressed, a=ROWS)}


@given(st.sampled_from(sorted(GOOD)), st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=4))
@settings(max_examples=500, deadline=None)
def test_whatever_the_bytes_are_there_is_an_array_or_one_error(kind: str, changes: list[tuple[int, int]]) -> None:
    data = bytearray(GOOD[kind])
    for place, value in changes:
        data[place % len(data)] = value
    try:
        if kind == "npy":
            archives.read_array(bytes(data), "x")
        else:
            archives.read_arrays(bytes(data), "x", 10_000)
    except (InvalidArgument, ResourceExhausted) as error:
        assert str(error).startswith("x")  # noqa: PT017 - an array is as good as an error


def test_pictures_and_folders_of_pictures_are_rows_by_name(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpeg", "notes.txt", "c.jpg"):
        (tmp_path / name).touch()
    expected = ["first.png", *(str(tmp_path / name) for name in ("a.jpeg", "b.PNG", "c.jpg"))]
    assert sources.gather(["first.png", str(tmp_path)]) == expected


def test_the_rows_of_several_files_of_arrays_follow_each_other(write: Write) -> None:
    found = sources.gather([write("a.npy", npy(ROWS)), write("b.npy", npy(ROWS[:1]))])
    np.testing.assert_array_equal(np.asarray(found), [*ROWS, ROWS[0]])
    named = sources.gather([write("a.npz", npz(x=ROWS, y=ROWS)), write("b.npz", npz(y=ROWS, x=ROWS))])
    assert isinstance(named, dict)
    assert {name: array.shape for name, array in named.items()} == {"x": (4, 4), "y": (4, 4)}


def test_sources_that_do_not_fit_each_other_are_refused(write: Write, tmp_path: Path) -> None:
    array, other = write("a.npy", npy(ROWS)), write("b.npy", npy(ROWS[:, :3]))
    for mixed in ([array, "x.png"], [array, write("a.npz", npz(x=ROWS))]):
        with pytest.raises(InvalidArgument, match="either pictures, or files with arrays of the same names"):
            sources.gather(mixed)
    with pytest.raises(InvalidArgument, match="expected arrays of one shape beside their rows"):
        sources.gather([array, other])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidArgument, match="expected pictures in this folder"):
        sources.gather([str(tmp_path / "empty")])
