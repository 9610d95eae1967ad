import io
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from strata_client import InvalidArgument, ResourceExhausted
from strata_client.batch.rows import Source
from strata_client.batch.sources import arrays, open_source

ROWS = np.arange(60_000, dtype="<f4").reshape(300, 10, 20)
Open = Callable[..., Source]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Write a file and open it."""
    sources = []

    def open_bytes(name: str, data: bytes) -> Source:
        (tmp_path / name).write_bytes(data)
        sources.append(open_source(str(tmp_path / name)))
        return sources[-1]

    yield open_bytes
    for source in sources:
        source.close()


def npy(array: npt.NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(save: Callable[..., None] = np.savez, **members: npt.NDArray[Any]) -> bytes:
    file = io.BytesIO()
    save(file, **members)
    return file.getvalue()


def zipped(members: Mapping[str, bytes], packing: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", packing) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def read_array(source: Source, name: str, start: int = 0, stop: int = 10**6) -> npt.NDArray[Any]:
    values = [row.value for row in source.read(start, stop)]
    return np.stack([value[name] for value in values if isinstance(value, Mapping)])


@pytest.mark.parametrize(
    "array",
    [ROWS, ROWS[:5].astype(">f8"), ROWS[:7, 0, 0], np.array([True, False]), np.array(["a", "bcd"]), np.asfortranarray(ROWS[:4, 0, 0])],
    ids=["float32", "big-endian", "numbers", "bool", "text", "one dimension"],
)  # fmt: skip
def test_an_npy_file_is_its_rows_for_the_only_input(opened: Open, array: npt.NDArray[Any]) -> None:
    source = opened("a.npy", npy(array))
    assert source.count == len(array)
    assert [row.key for row in source.read(1, 3)] == ["1", "2"][: len(array) - 1]
    values = [row.value for row in source.read(0, source.count)]
    kinds = {(type(value[""]), value[""].dtype) for value in values if isinstance(value, Mapping)}
    assert kinds == {(np.ndarray, array.dtype)}
    np.testing.assert_array_equal(read_array(source, ""), array)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_file_is_its_rows_by_name(opened: Open, save: Callable[..., None]) -> None:
    source = opened("a.npz", npz(save, conv1=ROWS, pool1=ROWS[:, 0].astype("<i8")))
    np.testing.assert_array_equal(read_array(source, "conv1", 100, 250), ROWS[100:250])
    np.testing.assert_array_equal(read_array(source, "pool1", 290), ROWS[290:, 0])


def test_a_name_that_is_a_path_is_the_name_of_a_layer(opened: Open) -> None:
    source = opened("a.npz", zipped({"../block/conv:0.npy": npy(ROWS[:2]), ".npy": npy(ROWS[:2])}))
    np.testing.assert_array_equal(read_array(source, "../block/conv:0"), ROWS[:2])
    np.testing.assert_array_equal(read_array(source, ""), ROWS[:2])


@pytest.mark.parametrize("save", [None, np.savez, np.savez_compressed])
def test_rows_are_read_without_the_whole_file_in_memory(opened: Open, save: Callable[..., None] | None) -> None:
    many = np.zeros((4000, 1000), "<f4")  # 16 MB
    source = opened("a.npy", npz(save, a=many) if save else npy(many))
    tracemalloc.start()
    assert sum(1 for _ in source.read(0, source.count)) == 4000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * arrays._BYTES_AT_ONCE


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.npy", b"no array", "expected an .npy or .npz file of numbers or text"),
        ("a.npy", npy(ROWS)[:1000], "240,128 bytes for shape (300, 10, 20); it is cut off at 1,000"),
        ("a.npy", npy(np.asfortranarray(ROWS)), "expected an array in C order; received Fortran order"),
        ("a.npy", npy(np.array([{}, []], dtype=object)), "received elements of type object"),
        ("a.npy", npy(np.zeros(2, "m8[s]")), "received elements of type timedelta64"),
        ("a.npy", npy(np.array(1.0)), "received shape ()"),
        ("a.npy", npy(ROWS[:0]), "received shape (0, 10, 20)"),
        ("a.npy", npy(np.zeros((10**6, 0))), "received shape (1000000, 0)"),
        ("a.npz", npz(), "received 0 members"),
        ("a.npz", npz(a=ROWS, b=ROWS[1:]), "as many rows each; received a (300, 10, 20), b (299, 10, 20)"),
        ("a.npz", npz(a=np.array([None])), "received elements of type object"),
        ("a.npz", npz(a=np.asfortranarray(ROWS)), "received Fortran order"),
        ("a.npz", npz(a=ROWS)[:1000], "expected an .npy or .npz file"),
        ("a.npz", zipped({"a.txt": b""}), "its member 'a.txt' does not end in .npy"),
        ("a.npz", zipped({"a.npy": npy(ROWS)}, zipfile.ZIP_LZMA), "is compressed otherwise than numpy does"),
        ("a.npz", zipped({"a.npy": npy(ROWS) + b"more"}), "should have 240,128 bytes; it says 240,132"),
        ("a.npz", zipped({"a.npy": npy(ROWS)[:-1]}), "should have 240,128 bytes; it says 240,127"),
    ],
)  # fmt: skip
def test_what_holds_no_rows_of_arrays_is_refused(opened: Open, name: str, data: bytes, message: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        opened(name, data)
    assert message in str(refused.value)
    assert name in str(refused.value)


def test_a_member_that_unpacks_to_more_than_it_says_is_refused(opened: Open) -> None:
    data = bytearray(zipped({"a.npy": npy(ROWS) + bytes(10**6)}, zipfile.ZIP_DEFLATED))
    size, stated = (len(npy(ROWS)) + 10**6).to_bytes(4, "little"), len(npy(ROWS)).to_bytes(4, "little")
    assert data.count(size) == 2  # in front of the member and in the directory
    source = opened("a.npz", bytes(data.replace(size, stated)))
    with pytest.raises(InvalidArgument, match="Bad CRC-32"):
        list(source.read(0, source.count))


def test_a_row_that_no_request_can_hold_is_refused(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "MAX_FILE_BYTES", 799)
    with pytest.raises(ResourceExhausted, match="rows of at most 799 bytes; received 800"):
        opened("a.npy", npy(ROWS))
    with pytest.raises(ResourceExhausted, match="rows of at most 799 bytes; received 800"):
        opened("a.npz", npz(a=ROWS[:, 0], b=ROWS[:, 0], c=ROWS[:, 1:9]))


def test_the_digest_of_an_npz_file_sees_every_number_and_that_of_an_npy_file_the_shape(opened: Open) -> None:
    other = ROWS.copy()
    other[5] += 1
    assert opened("a.npz", npz(a=ROWS)).digest != opened("b.npz", npz(a=other)).digest
    assert opened("a.npy", npy(ROWS)).digest == opened("b.npy", npy(other)).digest
    assert opened("c.npy", npy(ROWS)).digest != opened("d.npy", npy(ROWS.reshape(300, 200))).digest


def test_a_file_of_another_size_than_was_listed_is_refused(opened: Open, tmp_path: Path) -> None:
    source = opened("a.npy", npy(ROWS))
    (tmp_path / "a.npy").write_bytes(npy(ROWS[:10]))
    with pytest.raises(InvalidArgument, match="expected the file that was listed, of 240,128 bytes; received 8,128"):
        list(source.read(0, 5))
