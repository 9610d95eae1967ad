"""Results as Parquet: a file for each part, `DEST/part-00000.parquet`, all of them one dataset.

The columns are `key`, `label`, `score` (float32), `error_code` and `error`, null where a row has none, then one for
each `Column`: Arrow's `fixed_shape_tensor`, which readers that do not know it see as a list. Two things cannot be kept
so: a single number for each row is a plain column of numbers, and the truth values of a tensor are uint8, 0 and 1. A
row group holds `Layout.group_rows` rows. The metadata of a file has the job's fingerprint and the counts as JSON, under
the key `strata`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import IO, Any

import numpy as np

from strata_client.activity import Array
from strata_client.batch.blocks import Block, Column, Found, Layout, Part, regroup
from strata_client.batch.formats.arrow import write_numbers, write_scores, write_texts
from strata_client.batch.place import Place
from strata_client.batch.rows import Failure
from strata_client.errors import InvalidArgument, MissingExtra

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ModuleNotFoundError as error:
    raise MissingExtra("batch", "pyarrow") from error

_METADATA = b"strata"

_TEXTS = ("key", "label", "error_code", "error")

_LEVEL = 1
"""Of zstd: higher ones take longer, and save hardly more of an activation."""

_WORTHWHILE = 0.8
"""What is left of a column's bytes at most, that compressing them is worth its time."""

_SAMPLE_BYTES = 1 << 20


class Parquet:
    """A file for each part, in the folder that is the result."""

    name = "parquet"

    def locate(self, where: str) -> Place:
        """Return the result's own folder: what begins with `_` in it is no part of the dataset to any reader."""
        return Place(where)

    def prepare(self, place: Place, layout: Layout, fingerprint: str) -> None:  # noqa: ARG002 - the files hold it
        """Make the folder.

        Raises:
            InvalidArgument: a column has no elements, of which Parquet cannot have a tensor.
            OSError: it cannot be made.
        """
        for column in layout.columns:
            if not column.row_bytes:
                shape = "x".join(map(str, column.shape))
                raise InvalidArgument(f"{column.name!r}: expected at least one element for each row; received {shape}")
        place.make()

    def find(self, place: Place, part: Part) -> Found | None:
        """Look for a finished part; its metadata alone is read.

        Raises:
            InvalidArgument: it is damaged, or not made by a batch.
        """
        name = name_part(part)
        size = place.size(name)
        if size is None:
            return None
        with place.open(name) as file, _explained(place, name):
            return _describe(pq.read_metadata(file), size, part)

    def write(self, place: Place, layout: Layout, part: Part, fingerprint: str, blocks: Iterable[Block]) -> Found:
        """Write a part, a row group at a time."""
        failed = 0
        with place.replacing(name_part(part)) as file:
            groups = regroup(blocks, layout, part)
            with _open_writer(file, layout, first := next(groups)) as writer:
                groups = chain([first], groups)
                del first
                for group in groups:
                    writer.write_table(_to_table(group, layout), row_group_size=layout.group_rows)
                    failed += group.failed
                    del group  # before the next one is made: it may be large
                counts = {"fingerprint": fingerprint, "part": part.number, "rows": part.rows, "failed": failed}
                writer.add_key_value_metadata({_METADATA: json.dumps(counts)})
        return Found(fingerprint, part.rows, failed)

    def read(self, place: Place, layout: Layout, part: Part) -> Iterator[Block]:
        """Read a part, a row group at a time; every page has a checksum."""
        for table in _read_groups(place, part):
            with _explained(place, name_part(part)):
                block = _to_block(table, layout)
            del table
            yield block
            del block  # before the next one is read: it may be large

    def read_column(self, place: Place, part: Part, name: str) -> Iterator[Any]:
        """Read one column alone, a row group at a time, as an Arrow array."""
        for table in _read_groups(place, part, [name]):
            yield table.column(0).combine_chunks()

    def finish(self, place: Place, layout: Layout, fingerprint: str) -> None:
        """Nothing is left to do."""


def to_numpy(values: Any, column: Column) -> Array:
    """Return an Arrow array of a column as numpy's, (rows, ...).

    Raises:
        ValueError: it is of another type or shape.
    """
    array = np.asarray(values.to_numpy(zero_copy_only=False) if column.shape == () else values.to_numpy_ndarray())
    if array.dtype == np.uint8 and column.dtype == np.bool_:
        array = array.view(np.bool_)
    if array.dtype != column.dtype or array.shape[1:] != column.shape:
        raise ValueError(f"{column.name!r} is {array.dtype} of shape {array.shape[1:]}")
    return array


def name_part(part: Part) -> str:
    """Return the name of a part's file."""
    return f"part-{part.number:05}.parquet"


@contextmanager
def _explained(place: Place, name: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's or the network's; Arrow's own over bytes that are wrong have no number
        what = " ".join(str(error).split()) or type(error).__name__
        raise InvalidArgument(f"{place.name(name)} is damaged: remove it; {what}") from error


def _describe(metadata: Any, size: int, part: Part) -> Found:
    """Return what a file's metadata says of it, where that fits the file."""
    own = (metadata.metadata or {}).get(_METADATA)
    if own is None:
        raise ValueError("expected a result of a batch")
    counts = json.loads(own)
    if (counts["part"], counts["rows"]) != (part.number, metadata.num_rows):
        raise ValueError(f"expected part {part.number}, {metadata.num_rows} rows; received {counts}")
    if _end(metadata) != size:
        raise ValueError(f"expected {_end(metadata):,} bytes; received {size:,}")
    return Found(str(counts["fingerprint"]), int(counts["rows"]), int(counts["failed"]))


def _end(metadata: Any) -> int:
    """Return how long a file is by what its metadata says: its pages, then the metadata, its length and `PAR1`."""
    end = 4
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        end += sum(row_group.column(number).total_compressed_size for number in range(row_group.num_columns))
    return int(end + metadata.serialized_size + 8)


def _open_writer(file: IO[bytes], layout: Layout, sample: Block) -> Any:
    paths = dict.fromkeys((*_TEXTS, "score"), "zstd")
    for column in layout.columns:
        paths[_path(column)] = "zstd" if _shrinks(sample.tensors[column.name]) else "none"
    return pq.ParquetWriter(
        file,
        _schema(layout),
        compression=paths,
        compression_level={path: _LEVEL for path, codec in paths.items() if codec == "zstd"},
        use_dictionary=["label", "error_code", "error"],
        write_statistics=[*_TEXTS, "score"],
        write_page_checksum=True,
    )


def _shrinks(values: Array) -> bool:
    """Say whether compression pays, by the first rows: it does where a ReLU left zeros, and not for other floats."""
    rows = max(1, _SAMPLE_BYTES // max(1, values[:1].nbytes))
    sample = np.ascontiguousarray(values[:rows])
    compressed = pa.Codec("zstd", compression_level=_LEVEL).compress(sample.data.cast("B"))
    return int(compressed.size) < _WORTHWHILE * sample.nbytes


def _path(column: Column) -> str:
    return f"{column.name}.list.element" if column.shape else column.name


def _schema(layout: Layout) -> Any:
    named = [
        pa.field("key", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("score", pa.float32()),
        pa.field("error_code", pa.string()),
        pa.field("error", pa.string()),
    ]
    return pa.schema([*named, *(pa.field(column.name, _type(column), nullable=False) for column in layout.columns)])


def _type(column: Column) -> Any:
    if column.shape == ():
        return pa.from_numpy_dtype(column.dtype)
    element = pa.uint8() if column.dtype == np.bool_ else pa.from_numpy_dtype(column.dtype)
    return pa.fixed_shape_tensor(element, column.shape)


def _to_table(block: Block, layout: Layout) -> Any:
    texts = {name: write_texts(values) for name, values in block.texts().items()}
    named = [texts["key"], texts["label"], write_scores(block.scores), texts["error_code"], texts["error"]]
    tensors = [_to_arrow(block.tensors[column.name], column) for column in layout.columns]
    return pa.Table.from_arrays([*named, *tensors], schema=_schema(layout))


def _to_arrow(values: Array, column: Column) -> Any:
    """Return a column as Arrow has it, in the same memory."""
    if column.shape == ():
        return write_numbers(values)
    flat = np.ascontiguousarray(values).reshape(-1)
    numbers = write_numbers(flat.view(np.uint8) if flat.dtype == np.bool_ else flat)
    length = column.row_bytes // column.dtype.itemsize
    return pa.ExtensionArray.from_storage(_type(column), pa.FixedSizeListArray.from_arrays(numbers, length))


def _read_groups(place: Place, part: Part, columns: list[str] | None = None) -> Iterator[Any]:
    name = name_part(part)
    with place.open(name) as file:
        with _explained(place, name):
            reader = pq.ParquetFile(file, page_checksum_verification=True)
        for group in range(reader.num_row_groups):
            with _explained(place, name):
                table = reader.read_row_group(group, columns)
            yield table
            del table


def _to_block(table: Any, layout: Layout) -> Block:
    columns = {name: table.column(name).combine_chunks() for name in table.column_names}
    codes, reasons = columns["error_code"].to_pylist(), columns["error"].to_pylist()
    return Block(
        columns["key"].to_pylist(),
        columns["label"].to_pylist(),
        columns["score"].to_pylist(),
        [None if code is None else Failure(code, reason) for code, reason in zip(codes, reasons, strict=True)],
        {column.name: to_numpy(columns[column.name], column) for column in layout.columns},
    )
