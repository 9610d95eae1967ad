from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from strata_client import InvalidArgument
from strata_client.batch.rows import Failure, Row, Source
from strata_client.batch.sources import open_source, tables

PICTURES = [f"picture {number}".encode() for number in range(10)]
NULL = Failure("INVALID_ARGUMENT", "expected a picture; received null")
TENSOR = pa.fixed_shape_tensor(pa.float32(), (2, 3))
VALUES = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(columns: Mapping[str, Any], name: str = "a.parquet", **options: Any) -> str:
        parquet.write_table(pa.table(dict(columns)), tmp_path / name, **options)
        return str(tmp_path / name)

    return write


def read_rows(where: str, **options: str) -> list[Row]:
    source = open_source(where, **options)
    rows = list(source.read(0, source.count))
    assert source.count == len(rows)
    source.close()
    return rows


def read_tensors(source: Source) -> list[Any]:
    values = [row.value for row in source.read(0, source.count)]
    return [value["conv1"] if isinstance(value, Mapping) else value for value in values]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_the_only_column_of_pictures_is_found(write: Write, kind: Any) -> None:
    where = write({"label": range(10), "photo": pa.array(PICTURES, kind)}, row_group_size=3)
    assert read_rows(where) == [Row(str(number), data) for number, data in enumerate(PICTURES)]


def test_pictures_are_found_as_datasets_of_hugging_face_keep_them(write: Write) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    found = [
        {"bytes": b"one", "path": "1.png"},
        {"bytes": None, "path": "/etc/passwd"},
        {"bytes": None, "path": None},
        None,
    ]
    rows = read_rows(write({"image": pa.array(found, kind), "label": range(4)}))
    elsewhere = Failure("INVALID_ARGUMENT", "expected the bytes of a picture; received the path of one")
    assert [row.value for row in rows] == [b"one", elsewhere, NULL, NULL]


def test_a_null_picture_and_one_too_large_fail_alone(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_FILE_BYTES", 5)
    rows = read_rows(write({"a": pa.array([b"one", None, b"large one"], pa.binary())}))
    assert rows[:2] == [Row("0", b"one"), Row("1", NULL)]
    assert isinstance(rows[2].value, Failure)
    assert rows[2].value.code == "RESOURCE_EXHAUSTED"


@pytest.mark.parametrize("where", ["", "/*.parquet", "/**"])
def test_the_files_of_a_folder_are_rows_one_after_another(write: Write, tmp_path: Path, where: str) -> None:
    write({"a": PICTURES[5:]}, "b.parquet")
    write({"a": PICTURES[:5]}, "a.parquet")
    (tmp_path / ".hidden.parquet").write_bytes(b"")
    (tmp_path / "manifest.json").write_bytes(b"")
    rows = read_rows(f"{tmp_path}{where}")
    assert [row.value for row in rows] == PICTURES
    assert [row.key for row in rows][4:6] == ["a.parquet:4", "b.parquet:0"]


def test_a_folder_of_pictures_beside_a_table_is_one_of_pictures_unless_a_column_is_named(
    write: Write, tmp_path: Path
) -> None:
    write({"a": PICTURES})
    (tmp_path / "one.png").write_bytes(b"one")
    assert read_rows(str(tmp_path)) == [Row("one.png", b"one")]
    assert len(read_rows(str(tmp_path), image_column="a")) == 10


def test_keys_come_from_a_column(write: Write) -> None:
    columns = {"a": PICTURES, "b": PICTURES, "id": range(100, 110), "name": [f"n{number}" for number in range(10)]}
    rows = read_rows(write(columns, row_group_size=4), image_column="b", key_column="name")
    assert [row.key for row in rows] == columns["name"]
    assert read_rows(write(columns), image_column="a", key_column="id")[3].key == "103"


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"a": [1]}, {}, "received 0 among 'a'"),
        ({"a": [b"1"], "b": [b"2"]}, {}, "received 2 among 'a', 'b'"),
        ({"a": [b"1"]}, {"image_column": "b"}, "image column: expected one of 'a'; received 'b'"),
        ({"a": [b"1"]}, {"key_column": "b"}, "key column: expected one of 'a'; received 'b'"),
        ({"a": ["text"]}, {"image_column": "a"}, "expected pictures or tensors of one shape in 'a'; received string"),
        ({"a": [b"1", b"2"], "k": ["x", "x"]}, {"key_column": "k"}, "row 0 and row 1 are both 'x'"),
        ({"a": [b"1", b"2"], "k": ["x", None]}, {"key_column": "k"}, "expected text or numbers; received NoneType"),
        ({"a": pa.array([], pa.binary())}, {}, "expected rows; received none"),
    ],
)
def test_a_table_whose_rows_are_not_clear_is_refused(
    write: Write, columns: dict[str, Any], options: dict[str, str], message: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        open_source(write(columns), **options)
    assert message in str(refused.value)
    assert "a.parquet" in str(refused.value)


def test_files_with_other_columns_than_the_first_are_refused(write: Write, tmp_path: Path) -> None:
    write({"a": PICTURES}, "a.parquet")
    write({"a": pa.array(PICTURES, pa.large_binary())}, "b.parquet")
    with pytest.raises(InvalidArgument, match=r"b\.parquet: expected column 'a' of binary; received large_binary"):
        open_source(str(tmp_path))


@pytest.mark.parametrize("data", [b"", b"PAR1", b"no table", b"PAR1" + bytes(100) + b"PAR1"])
def test_a_damaged_table_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.parquet").write_bytes(data)
    with pytest.raises(InvalidArgument, match=r"a\.parquet: expected a Parquet file; "):
        open_source(str(tmp_path / "a.parquet"))


@pytest.mark.parametrize(
    "column",
    [
        pa.FixedShapeTensorArray.from_numpy_ndarray(VALUES),
        pa.FixedSizeListArray.from_arrays(pa.FixedSizeListArray.from_arrays(VALUES.ravel(), 3), 2),
    ],
    ids=["tensors", "lists"],
)  # fmt: skip
def test_tensors_enter_at_the_layer_that_their_column_is_named_after(write: Write, column: Any) -> None:
    source = open_source(write({"conv1": column}, row_group_size=3))
    np.testing.assert_array_equal(read_tensors(source), VALUES)
    np.testing.assert_array_equal(next(iter(source.read(2, 3))).value["conv1"], VALUES[2])  # type: ignore[call-overload,index]
    source.close()


def test_a_row_that_failed_in_the_batch_before_fails_for_the_same_reason(write: Write) -> None:
    columns = {
        "key": ["a", "b", "c", "d"],
        "error_code": [None, "NOT_FOUND", None, None],
        "error": [None, "no such file", None, None],
        "conv1": pa.FixedShapeTensorArray.from_numpy_ndarray(VALUES),
    }
    source = open_source(write(columns), key_column="key")
    rows = list(source.read(0, 4))
    assert [row.key for row in rows] == columns["key"]
    assert rows[1].value == Failure("NOT_FOUND", "no such file")
    assert isinstance(rows[2].value, Mapping)
    source.close()


def test_the_digest_sees_other_rows_and_keys(write: Write) -> None:
    digests = set()
    for columns in ({"a": PICTURES}, {"a": PICTURES[1:]}, {"a": PICTURES, "k": range(10)}):
        source = open_source(write(columns), key_column="k" if "k" in columns else "")
        digests.add(source.digest)
        source.close()
    assert len(digests) == 3
