"""One .npz file as numpy sees it, and what stands beside it until it is there."""

import json
from pathlib import Path

import numpy as np
import pytest
from results import FINGERPRINT, LAYOUT, cut_rows, make_rows, read_all, write_all
from strata_client import InvalidArgument
from strata_client.batch.blocks import Layout, equal
from strata_client.batch.formats.npz import Npz
from strata_client.batch.place import Place

EXPECTED = make_rows(0, 30)


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """A finished result."""
    write_all(str(tmp_path / "features.npz"))
    return tmp_path / "features.npz"


def locate(result: Path) -> Place:
    return Npz().locate(str(result))


def test_numpy_opens_it_without_pickle(result: Path) -> None:
    with np.load(result, allow_pickle=False) as arrays:
        named = ["key", "label", "error_code", "error", "score"]
        assert arrays.files == [*named, "block/conv", "dense", "_strata"]
        for name, values in EXPECTED.tensors.items():
            np.testing.assert_array_equal(arrays[name], values, strict=True)
        assert arrays["key"].tolist() == EXPECTED.keys
        assert [arrays[name][3] for name in ("label", "error_code")] == ["", "INVALID_ARGUMENT"]
        assert [str(arrays[name][4]) for name in ("label", "error_code", "error")] == ["class 1", "", ""]
        np.testing.assert_array_equal(np.isnan(arrays["score"]), [row % 7 == 3 for row in range(30)])
        assert arrays["score"].dtype == np.float32


def test_text_is_as_wide_as_the_widest_of_all_parts(result: Path) -> None:
    with np.load(result) as arrays:
        assert arrays["key"].dtype == "<U12"
        assert arrays["error"].dtype == f"<U{len('row 10 is no picture, but “10”')}"


def test_the_fingerprint_and_the_counts_stand_inside(result: Path) -> None:
    with np.load(result) as arrays:
        inside = json.loads(str(arrays["_strata"]))
    assert inside == {"fingerprint": FINGERPRINT, "rows": 30, "part_rows": 12, "failed": [2, 1, 1]}


def test_the_parts_are_gone_when_the_file_is_there(result: Path) -> None:
    assert sorted(path.name for path in result.parent.iterdir()) == ["features.npz", "features.npz.parts"]
    assert locate(result).list() == []


def test_made_again_of_the_same_rows_it_is_the_same_bytes(result: Path) -> None:
    before = result.read_bytes()
    part, chosen, place = LAYOUT.part(1), Npz(), locate(result)
    for rows in (make_rows(12, 24, mended=True), make_rows(12, 24)):
        chosen.write(place, LAYOUT, part, FINGERPRINT, [rows])
        chosen.finish(place, LAYOUT, FINGERPRINT)
    assert result.read_bytes() == before


def test_what_was_left_by_a_kill_between_the_file_and_its_parts_is_finished(result: Path) -> None:
    before = result.read_bytes()
    chosen, place, part = Npz(), locate(result), LAYOUT.part(2)
    chosen.write(place, LAYOUT, part, FINGERPRINT, cut_rows(part, 6))
    (result.parent / "features.npz.parts" / "result.npz").write_bytes(before[:100])
    chosen.finish(place, LAYOUT, FINGERPRINT)
    assert (result.read_bytes(), place.list()) == (before, [])


def test_a_file_is_not_finished_while_a_part_is_missing(tmp_path: Path) -> None:
    chosen, place = Npz(), locate(tmp_path / "features.npz")
    chosen.prepare(place, LAYOUT, FINGERPRINT)
    chosen.write(place, LAYOUT, LAYOUT.part(0), FINGERPRINT, cut_rows(LAYOUT.part(0), 4))
    with pytest.raises(FileNotFoundError, match=r"part-00001.parquet: expected all parts to be there"):
        chosen.finish(place, LAYOUT, FINGERPRINT)
    assert place.list() == ["part-00000.parquet"]
    assert not (tmp_path / "features.npz").exists()


def test_parts_stay_until_the_file_is_in_its_place(tmp_path: Path) -> None:
    chosen, place = Npz(), locate(tmp_path / "features.npz")
    chosen.prepare(place, LAYOUT, FINGERPRINT)
    for part in map(LAYOUT.part, range(3)):
        chosen.write(place, LAYOUT, part, FINGERPRINT, cut_rows(part, 6))
    (tmp_path / "features.npz" / "in the way").mkdir(parents=True)
    with pytest.raises(OSError, match=r"features\.npz"):
        chosen.finish(place, LAYOUT, FINGERPRINT)
    assert all(chosen.find(place, LAYOUT.part(number)) for number in range(3))


def test_a_folder_in_the_place_of_the_file_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "features.npz").mkdir()
    with pytest.raises(IsADirectoryError):
        Npz().prepare(locate(tmp_path / "features.npz"), LAYOUT, FINGERPRINT)


def test_no_rows_are_a_file_of_empty_arrays(tmp_path: Path) -> None:
    layout = Layout(LAYOUT.columns, 4, 12, 0)
    chosen, place = Npz(), locate(tmp_path / "features.npz")
    chosen.prepare(place, layout, FINGERPRINT)
    chosen.finish(place, layout, FINGERPRINT)
    with np.load(tmp_path / "features.npz") as arrays:
        assert arrays["block/conv"].shape == (0, 4, 5, 2)
        assert arrays["key"].shape == (0,)


def test_a_name_alone_is_a_file_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_all("features.npz")
    assert equal(read_all(str(tmp_path / "features.npz")), EXPECTED)


def test_the_result_of_another_job_is_not_overwritten(result: Path) -> None:
    with pytest.raises(InvalidArgument, match=rf"{result} is the result of another job: choose another name"):
        Npz().prepare(locate(result), LAYOUT, "another")


@pytest.mark.parametrize("data", [b"", b"no archive", None], ids=["empty", "text", "numpy"])
def test_a_file_that_no_batch_made_is_not_overwritten(tmp_path: Path, data: bytes | None) -> None:
    path = tmp_path / "features.npz"
    if data is None:
        np.savez(path, key=np.zeros(3))
    else:
        path.write_bytes(data)
    expected = rf"{path} is damaged, or no batch made it: remove it, or choose another name; "
    with pytest.raises(InvalidArgument, match=expected):
        Npz().prepare(locate(path), LAYOUT, FINGERPRINT)
    with pytest.raises(InvalidArgument, match=expected):
        Npz().find(locate(path), LAYOUT.part(0))


def test_a_file_that_was_cut_is_refused(result: Path) -> None:
    data = result.read_bytes()
    for length in (10, len(data) // 2, len(data) - 1):
        result.write_bytes(data[:length])
        with pytest.raises(InvalidArgument, match="is damaged"):
            Npz().find(locate(result), LAYOUT.part(0))
