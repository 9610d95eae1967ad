"""A Zarr group as its readers see it, and what says that its parts are done."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from results import FINGERPRINT, LAYOUT, cut_rows, make_rows, read_all, write_all
from strata_client import InvalidArgument
from strata_client.batch.blocks import Block, Column, Layout, equal
from strata_client.batch.formats.zarr import Zarr
from strata_client.batch.place import Place

EXPECTED = make_rows(0, 30)


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """A finished result."""
    write_all(str(tmp_path / "features.zarr"))
    return tmp_path / "features.zarr"


def locate(result: Path) -> Place:
    return Zarr().locate(str(result))


def test_zarr_opens_it_as_one_group_without_a_warning(result: Path) -> None:
    group: Any = zarr.open_group(result, mode="r")
    names = ["block%2Fconv", "dense", "error", "error_code", "key", "label", "score"]
    assert sorted(name for name, _ in group.members()) == names
    np.testing.assert_array_equal(group["block%2Fconv"][:], EXPECTED.tensors["block/conv"], strict=True)
    np.testing.assert_array_equal(group["dense"][:], EXPECTED.tensors["dense"], strict=True)
    assert group["key"][:].tolist() == EXPECTED.keys
    assert [group[name][3] for name in ("label", "error_code")] == ["", "INVALID_ARGUMENT"]
    assert np.isnan(group["score"][3])


def test_an_array_says_its_layer_and_a_chunk_has_the_rows_of_a_group(result: Path) -> None:
    group: Any = zarr.open_group(result, mode="r")
    array = group["block%2Fconv"]
    assert array.attrs["name"] == "block/conv"
    assert (array.chunks, group["key"].chunks) == ((4, 4, 5, 2), (4,))
    assert array.metadata.dimension_names == ("row", "block/conv_0", "block/conv_1", "block/conv_2")
    assert sorted(path.name for path in (result / "key").iterdir()) == [f"c.{n}" for n in range(8)] + ["zarr.json"]


@pytest.mark.parametrize(
    "name", ["a/b", "/root", "../up", "..", ".", "", "zarr.json", "__private", "con\\v", "größe 猫", "a\0\n", "c.0"]
)
def test_the_name_of_any_layer_is_an_array_of_its_own(tmp_path: Path, name: str) -> None:
    layout = Layout(tuple(Column(each, np.dtype(np.int8), (2,)) for each in (name, "b", "a")), 4, 4, 4)
    chosen, place = Zarr(), locate(tmp_path / "features.zarr")
    chosen.prepare(place, layout, FINGERPRINT)
    chosen.write(place, layout, layout.part(0), FINGERPRINT, [make_rows(0, 4, layout)])
    assert equal(read_all(str(tmp_path / "features.zarr"), layout), make_rows(0, 4, layout))
    group = zarr.open_group(tmp_path / "features.zarr", mode="r")
    assert {array.attrs["name"] for _, array in group.arrays()} >= {name, "a", "b"}


def test_a_part_counts_when_the_file_that_says_so_is_there(result: Path) -> None:
    place, part = locate(result), LAYOUT.part(1)
    with place.open("part-00001.json") as file:
        done = json.loads(file.read())
    assert {key: done[key] for key in ("fingerprint", "part", "rows", "failed")} == {
        "fingerprint": FINGERPRINT,
        "part": 1,
        "rows": 12,
        "failed": 1,
    }
    place.remove("part-00001.json")
    assert Zarr().find(place, part) is None


def test_a_part_that_is_written_again_does_not_count_until_it_is_done(result: Path) -> None:
    place, part = locate(result), LAYOUT.part(0)
    found = []

    def watch() -> Iterator[Block]:
        for block in cut_rows(part, 4):
            found.append(Zarr().find(place, part))
            yield block

    Zarr().write(place, LAYOUT, part, FINGERPRINT, watch())
    whole = Zarr().find(place, part)
    assert whole
    assert found == [whole, None, None]


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"0")])
def test_a_part_without_one_of_its_chunks_is_refused(result: Path, damage: object) -> None:
    assert callable(damage)
    damage(result / "dense" / "c.7.0")
    marker = result.parent / "features.zarr.parts" / "part-00002.json"
    with pytest.raises(InvalidArgument, match=rf"{marker} is damaged: remove it; it is not of \['dense/c\.7\.0'\]"):
        Zarr().find(locate(result), LAYOUT.part(2))
    marker.unlink()
    write_all(str(result))
    assert equal(read_all(str(result)), EXPECTED)


def test_a_chunk_in_which_a_byte_has_changed_is_not_read(result: Path) -> None:
    chunk = result / "block%2Fconv" / "c.1.0.0.0"
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 1
    chunk.write_bytes(data)
    with pytest.raises(InvalidArgument, match=rf"{result} is damaged: remove it; .*checksum"):
        list(Zarr().read(locate(result), LAYOUT, LAYOUT.part(0)))


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"part": 1, "chunks": {}}', '{"chunks": []}'])
def test_a_file_that_says_nothing_clear_is_refused(result: Path, text: str) -> None:
    marker = result.parent / "features.zarr.parts" / "part-00001.json"
    marker.write_text(text)
    with pytest.raises(InvalidArgument, match=rf"{marker} is damaged: remove it; "):
        Zarr().find(locate(result), LAYOUT.part(1))


def test_an_array_of_zeros_alone_takes_no_space_and_is_whole(tmp_path: Path) -> None:
    layout = Layout((Column("zeros", np.dtype(np.float32), (2,)),), 4, 4, 4)
    rows = make_rows(0, 4, layout)
    rows.tensors["zeros"][:] = 0
    chosen, place = Zarr(), locate(tmp_path / "features.zarr")
    chosen.prepare(place, layout, FINGERPRINT)
    chosen.write(place, layout, layout.part(0), FINGERPRINT, [rows])
    assert chosen.find(place, layout.part(0))
    assert equal(read_all(str(tmp_path / "features.zarr"), layout), rows)
    assert [path.name for path in (tmp_path / "features.zarr" / "zeros").iterdir()] == ["zarr.json"]


def test_when_the_group_was_removed_its_parts_are_not_done(result: Path) -> None:
    shutil.rmtree(result)
    assert len(write_all(str(result))) == 3
    assert equal(read_all(str(result)), EXPECTED)


def test_what_a_killed_writer_left_is_removed_by_the_next_one(result: Path) -> None:
    left = result / "key" / "c.0123456789abcdef0123456789abcdef.partial"
    left.write_bytes(b"half")
    Zarr().prepare(locate(result), LAYOUT, FINGERPRINT)
    assert not left.exists()


def test_a_group_of_another_job_or_of_somebody_else_is_not_touched(result: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=rf"{result} is the result of another job: choose another name"):
        Zarr().prepare(locate(result), LAYOUT, "another")
    other = tmp_path / "other.zarr"
    zarr.create_group(other)
    with pytest.raises(InvalidArgument, match=rf"{other} is there already, and no batch made it: choose another name"):
        Zarr().prepare(locate(other), LAYOUT, FINGERPRINT)
