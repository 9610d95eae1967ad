"""Parquet as its readers see it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from results import FINGERPRINT, LAYOUT, cut_rows, make_rows, write_all
from strata_client import InvalidArgument
from strata_client.batch.blocks import Block, Column, Layout
from strata_client.batch.formats.parquet import Parquet
from strata_client.batch.place import Place

EXPECTED = make_rows(0, 30)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished result, with what a job keeps beside the parts."""
    folder = tmp_path_factory.mktemp("parquet") / "features"
    write_all(str(folder))
    for name in ("_manifest.json", "_lock"):
        (folder / name).write_text("{}")
    return folder


def test_the_folder_is_one_dataset_whose_tensors_come_back_as_numpy(result: Path) -> None:
    table = pa.dataset.dataset(result).to_table()
    assert table.column_names == ["key", "label", "score", "error_code", "error", "block/conv", "dense"]
    assert table.schema.field("block/conv").type == pa.fixed_shape_tensor(pa.float32(), (4, 5, 2))
    for name, values in EXPECTED.tensors.items():
        chunks = [chunk.to_numpy_ndarray() for chunk in table[name].chunks]
        np.testing.assert_array_equal(np.concatenate(chunks), values)


def test_what_a_row_does_not_have_is_null(result: Path) -> None:
    rows = pq.read_table(result, columns=["key", "label", "score", "error_code", "error"]).to_pylist()
    assert rows[3] == {
        "key": "größe/3.png",
        "label": None,
        "score": None,
        "error_code": "INVALID_ARGUMENT",
        "error": "row 3 is no picture, but “3”",
    }
    score = float(np.float32(4 / 7))
    assert rows[4] == {"key": "größe/4.png", "label": "class 1", "score": score, "error_code": None, "error": None}


def test_pandas_reads_the_folder(result: Path) -> None:
    frame = pd.read_parquet(result)
    assert frame["key"].tolist() == EXPECTED.keys
    np.testing.assert_array_equal(np.stack(frame["block/conv"]).reshape(30, 4, 5, 2), EXPECTED.tensors["block/conv"])


def test_a_reader_that_knows_no_tensors_sees_lists_of_numbers(result: Path) -> None:
    column = pq.read_metadata(result / "part-00000.parquet").schema.column(5)
    assert (column.path, column.physical_type) == ("block/conv.list.element", "FLOAT")
    stored = pq.read_table(result / "part-00000.parquet")["dense"].chunk(0).storage
    assert (stored.type, stored[1].as_py()) == (pa.list_(pa.float16(), 3), [3, 4, 0])


def test_a_row_group_holds_the_rows_of_a_group(result: Path) -> None:
    groups = [pq.read_metadata(result / f"part-{number:05}.parquet") for number in range(3)]
    counts = [[one.row_group(each).num_rows for each in range(one.num_row_groups)] for one in groups]
    assert counts == [[4, 4, 4], [4, 4, 4], [4, 2]]


def test_the_metadata_has_the_fingerprint_and_the_counts(result: Path) -> None:
    metadata = pq.read_metadata(result / "part-00001.parquet").metadata
    expected = {"fingerprint": FINGERPRINT, "part": 1, "rows": 12, "failed": 1}
    assert json.loads(metadata[b"strata"]) == expected


def test_the_same_rows_are_the_same_bytes_in_whatever_blocks_they_came(result: Path, tmp_path: Path) -> None:
    part = LAYOUT.part(0)
    for size in (1, 3, 12):
        Parquet().write(Place(str(tmp_path)), LAYOUT, part, FINGERPRINT, cut_rows(part, size))
        assert (tmp_path / "part-00000.parquet").read_bytes() == (result / "part-00000.parquet").read_bytes()


def test_what_a_relu_leaves_is_compressed_and_other_floats_are_not(tmp_path: Path) -> None:
    columns = tuple(Column(name, np.dtype(np.float32), (64,)) for name in ("signed", "relu"))
    layout = Layout(columns, 512, 512, 512)
    signed = np.random.default_rng(0).normal(size=(512, 64)).astype(np.float32)
    tensors = {"signed": signed, "relu": np.maximum(signed, 0)}
    rows = Block(["key"] * 512, ["label"] * 512, [1.0] * 512, [None] * 512, tensors)
    Parquet().write(Place(str(tmp_path)), layout, layout.part(0), FINGERPRINT, [rows])
    group = pq.read_metadata(tmp_path / "part-00000.parquet").row_group(0)
    assert [group.column(number).compression for number in (5, 6)] == ["UNCOMPRESSED", "ZSTD"]
    assert group.column(6).total_compressed_size < 0.7 * signed.nbytes


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda data: data[:1000],
        lambda data: data[:-1],
        lambda data: data[:-200] + bytes(100) + data[-100:],
        lambda data: data[4:],
        lambda data: data + data[-8:],
        lambda data: data[: len(data) // 3] + data[len(data) // 2 :],
        lambda data: b"\0" * len(data),
        lambda data: bytes(reversed(data)),
    ],
    ids=["empty", "begun", "cut", "garbled", "headless", "longer", "holed", "zeros", "reversed"],
)
def test_a_damaged_part_is_refused_by_its_name(result: Path, tmp_path: Path, damage: object) -> None:
    assert callable(damage)
    path = tmp_path / "part-00000.parquet"
    path.write_bytes(damage((result / path.name).read_bytes()))
    with pytest.raises(InvalidArgument, match=rf"{path} is damaged: remove it; "):
        Parquet().find(Place(str(tmp_path)), LAYOUT.part(0))


def test_a_part_in_which_a_byte_has_changed_is_not_read(result: Path, tmp_path: Path) -> None:
    path = tmp_path / "part-00000.parquet"
    data = bytearray((result / path.name).read_bytes())
    column = pq.read_metadata(result / path.name).row_group(1).column(5)
    data[column.data_page_offset + column.total_compressed_size - 5] ^= 1
    path.write_bytes(data)
    place = Place(str(tmp_path))
    assert Parquet().find(place, LAYOUT.part(0))
    with pytest.raises(InvalidArgument, match=rf"{path} is damaged: remove it; .*CRC"):
        list(Parquet().read(place, LAYOUT, LAYOUT.part(0)))


def test_the_part_of_another_number_and_other_peoples_files_are_refused(result: Path, tmp_path: Path) -> None:
    path = tmp_path / "part-00000.parquet"
    path.write_bytes((result / "part-00001.parquet").read_bytes())
    with pytest.raises(InvalidArgument, match=r"expected part 0, 12 rows; received .*'part': 1"):
        Parquet().find(Place(str(tmp_path)), LAYOUT.part(0))
    pq.write_table(pa.table({"key": ["a"]}), path)
    with pytest.raises(InvalidArgument, match="expected a result of a batch"):
        Parquet().find(Place(str(tmp_path)), LAYOUT.part(0))
