"""Rows of Parquet files: pictures in a column of them, or tensors."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from strata_client.batch.rows import Failure, Row
from strata_client.batch.sources.damage import explained
from strata_client.batch.sources.keys import explain_twice, write_key
from strata_client.batch.sources.listing import Entry, Listing
from strata_client.batch.sources.stores import MAX_FILE_BYTES, Store, check_size, refuse_size
from strata_client.errors import InvalidArgument, MissingExtra

if TYPE_CHECKING:
    from strata_client.activity import Array

try:
    import pyarrow as pa
    from pyarrow import parquet
except ModuleNotFoundError as error:
    raise MissingExtra("batch", "pyarrow") from error

_EXPECTED = "a Parquet file"

_BUFFER_BYTES = 2**20  # read ahead within a column: else all of a row group's is held, packed
_BYTES_AT_ONCE = 2**23
_MOST_ROWS_AT_ONCE = 64  # a picture that is there many times is one in the file, and many when it is read
_ERROR = ("error_code", "error")  # the columns of a result of ours
_TAIL = 8  # bytes at the end of a file: how long its footer is, and what it is


@dataclass(frozen=True)
class Columns:
    """Which columns make a row."""

    value: str
    type: Any = field(repr=False)
    """Arrow's, of the values."""
    key: str
    """Empty where rows are called by their numbers."""
    has_errors: bool
    """Whether rows may hold failures of the batch that wrote them."""

    @property
    def names(self) -> list[str]:
        """All that is read."""
        return [self.value, *filter(None, [self.key]), *(_ERROR if self.has_errors else ())]


@dataclass(frozen=True)
class File:
    """One file of a source."""

    path: str
    size: int
    """In bytes."""
    prefix: str
    """Of the keys of its rows, where they are called by their numbers."""
    first: int
    """The number of its first row in the source."""
    rows: int
    footer: str
    """SHA-256 of what describes it."""


@dataclass(frozen=True)
class Piece:
    """Some rows of a file."""

    file: File
    start: int
    stop: int


@dataclass(frozen=True)
class Pieces:
    """Some rows of a source; of a row group in which they begin, those before them are read and thrown away."""

    store: Store
    columns: Columns
    pieces: Sequence[Piece]

    def read(self) -> Iterator[Row]:
        """Read the rows, some megabytes at a time."""
        for piece in self.pieces:
            check_size(self.store, piece.file.path, piece.file.size)
            number = piece.start
            for batch in _read_batches(self.store, piece, self.columns.names):
                yield from _read_rows(batch, self.columns, piece.file.prefix, number)
                number += batch.num_rows


class Tables:
    """The rows of one or more Parquet files.

    The digest sees the names of the files and their footers, which say how many rows and bytes each row group has, and
    the keys where a column holds them: to see each picture's size, all of them would have to be read. What is
    overwritten with as many bytes passes unseen, as in a folder.
    """

    def __init__(self, store: Store, columns: Columns, files: Sequence[File], skipped: Mapping[str, int]) -> None:
        self._store, self._columns, self._files = store, columns, files
        self.count = sum(file.rows for file in files)
        self.skipped = dict(skipped)
        about = [(file.prefix, file.rows, file.footer) for file in files]
        names = (columns.value, columns.key, self._read_keys())
        self.digest = hashlib.sha256(repr((about, names)).encode()).hexdigest()

    def span(self, start: int, stop: int) -> Pieces:
        """Return some of the rows."""
        return Pieces(self._store, self._columns, list(self._cut(start, stop)))

    def read(self, start: int, stop: int) -> Iterator[Row]:
        """Read rows one after another."""
        return self.span(start, stop).read()

    def close(self) -> None:
        """Nothing is held open."""

    def _cut(self, start: int, stop: int) -> Iterator[Piece]:
        for file in self._files:
            first, last = max(start - file.first, 0), min(stop - file.first, file.rows)
            if first < last:
                yield Piece(file, first, last)

    def _read_keys(self) -> str:
        """Return the digest of the keys; each must be there once."""
        if not self._columns.key:
            return ""
        with contextlib.closing(Listing(self._list_keys(), is_sorted=False)) as listing:
            if (twice := listing.twice) is not None:
                name = self._store.name(self._files[0].path)
                raise explain_twice(name, twice.key, f"row {twice.first:,}", f"row {twice.second:,}")
            return listing.digest

    def _list_keys(self) -> Iterator[Entry]:
        for piece in self._cut(0, self.count):
            with explained(self._store.name(piece.file.path), _EXPECTED):
                for batch in _read_batches(self._store, piece, [self._columns.key]):
                    yield from (Entry(_read_key(value, self._columns.key), -1) for value in batch.column(0))


def open_tables(
    store: Store, paths: Sequence[tuple[str, str]], image_column: str, key_column: str, skipped: Mapping[str, int]
) -> Tables:
    """Read the footers of Parquet files.

    Args:
        store: where they are.
        paths: of the files, and what stands in front of the numbers of their rows in keys.
        image_column: the column with the pictures or tensors; found where it is empty and there is one of them.
        key_column: the column with the keys; empty for numbers.
        skipped: what lies beside them.

    Raises:
        InvalidArgument: there is no such column, or it is not the same in all files; keys are missing or twice;
            a file is damaged; there are no rows.
        OSError: a file cannot be read.
    """
    columns: Columns | None = None
    files: list[File] = []
    count = 0
    for path, prefix in paths:
        with explained(store.name(path), _EXPECTED), store.open(path) as opened, parquet.ParquetFile(opened) as table:
            found = _choose(table.schema_arrow, image_column or (columns.value if columns else ""), key_column)
            if columns is not None and found != columns:
                raise InvalidArgument(f"expected column {columns.value!r} of {columns.type}; received {found.type}")
            columns = found
            files.append(File(path, store.size(path), prefix, count, table.metadata.num_rows, _digest_footer(opened)))
            count += files[-1].rows
    if columns is None or not count:
        raise InvalidArgument(f"{store.name(paths[0][0])}: expected rows; received none")
    return Tables(store, columns, files, skipped)


def _choose(schema: pa.Schema, image_column: str, key_column: str) -> Columns:
    known = {name: schema.field(name).type for name in schema.names if schema.names.count(name) == 1}
    _find_column(known, key_column, "key column")
    _find_column(known, image_column, "image column")
    value = image_column or _find_value(known)
    if not _is_picture(known[value]) and not _is_tensor(known[value]):
        raise InvalidArgument(f"expected pictures or tensors of one shape in {value!r}; received {known[value]}")
    has_errors = all(_is_text(known.get(name)) for name in _ERROR)
    return Columns(value, known[value], key_column, has_errors)


def _find_column(known: Mapping[str, Any], name: str, what: str) -> None:
    if name and name not in known:
        raise InvalidArgument(f"{what}: expected one of {_list_names(known)}; received {name!r}")


def _find_value(known: Mapping[str, Any]) -> str:
    """Return the only column of pictures, else the only one of tensors."""
    pictures = [name for name, kind in known.items() if _is_picture(kind)]
    found = pictures or [name for name, kind in known.items() if _is_tensor(kind)]
    if len(found) != 1:
        raise InvalidArgument(
            f"expected one column of pictures or of tensors, or the name of one with --image-column; "
            f"received {len(found)} among {_list_names(known)}"
        )
    return found[0]


def _list_names(names: Sequence[str] | Mapping[str, Any]) -> str:
    listed = list(names)
    return ", ".join(map(repr, listed[:20])) + (", …" if len(listed) > 20 else "")


def _is_picture(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        # As Hugging Face's datasets keep them.
        return any(each.name == "bytes" and _is_picture(each.type) for each in kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_tensor(kind: Any) -> bool:
    if isinstance(kind, pa.FixedShapeTensorType):
        in_order = list(range(len(kind.shape)))
        return _is_number(kind.value_type) and list(kind.permutation or in_order) == in_order
    _, element = _unfold(kind)
    return bool(pa.types.is_fixed_size_list(kind)) and _is_number(element)


def _is_text(kind: Any) -> bool:
    if kind is not None and pa.types.is_dictionary(kind):
        kind = kind.value_type
    return kind is not None and bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_number(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _unfold(kind: Any) -> tuple[tuple[int, ...], Any]:
    """Return the shape of lists in lists, and the type of what is in the innermost."""
    if isinstance(kind, pa.FixedShapeTensorType):
        return tuple(kind.shape), kind.value_type
    shape: tuple[int, ...] = ()
    while pa.types.is_fixed_size_list(kind):
        shape, kind = (*shape, kind.list_size), kind.value_type
    return shape, kind


def _read_batches(store: Store, piece: Piece, names: Sequence[str]) -> Iterator[Any]:
    name = store.name(piece.file.path)
    with contextlib.ExitStack() as stack:
        stack.enter_context(explained(name, _EXPECTED))
        file = stack.enter_context(store.open(piece.file.path))
        table = stack.enter_context(parquet.ParquetFile(file, buffer_size=_BUFFER_BYTES, pre_buffer=False))
        groups, skipped = _find_groups(table.metadata, piece)
        at_once = _limit_rows(table.metadata, groups)
        left = piece.stop - piece.start
        for batch in table.iter_batches(at_once, row_groups=groups, columns=names, use_threads=False):
            part = batch.slice(skipped, left)
            skipped, left = max(0, skipped - batch.num_rows), left - part.num_rows
            if part.num_rows:
                yield part
            if not left:
                return
    raise InvalidArgument(f"{name}: expected the rows that were listed; {left:,} are missing")


def _find_groups(metadata: Any, piece: Piece) -> tuple[list[int], int]:
    """Return the row groups in which rows lie, and how many lie before them in the first."""
    groups: list[int] = []
    first, skipped = 0, 0
    for number in range(metadata.num_row_groups):
        rows = metadata.row_group(number).num_rows
        if first < piece.stop and first + rows > piece.start:
            skipped = skipped if groups else piece.start - first
            groups.append(number)
        first += rows
    return groups, skipped


def _limit_rows(metadata: Any, groups: Sequence[int]) -> int:
    described = [metadata.row_group(number) for number in groups]
    largest = max((group.total_byte_size / max(group.num_rows, 1) for group in described), default=1)
    return max(1, min(_MOST_ROWS_AT_ONCE, int(_BYTES_AT_ONCE / max(largest, 1))))


def _read_rows(batch: Any, columns: Columns, prefix: str, number: int) -> Iterator[Row]:
    values = _read_tensors(batch, columns) if _is_tensor(columns.type) else _read_pictures(batch, columns)
    errors = [batch.column(name).to_pylist() for name in _ERROR] if columns.has_errors else None
    for row, value in enumerate(values):
        key = _read_key(batch.column(columns.key)[row], columns.key) if columns.key else f"{prefix}{number + row}"
        code = errors and errors[0][row]
        yield Row(key, Failure(code, errors[1][row] or "") if errors and code else value)


def _read_pictures(batch: Any, columns: Columns) -> Iterator[bytes | Failure]:
    for value in batch.column(columns.value):
        data = value.as_py()
        if isinstance(data, dict):
            data = _open_struct(data)
        if data is None:
            data = Failure("INVALID_ARGUMENT", "expected a picture; received null")
        yield data if isinstance(data, Failure) or len(data) <= MAX_FILE_BYTES else refuse_size(len(data))


def _open_struct(found: Mapping[str, Any]) -> bytes | Failure | None:
    data: bytes | None = found["bytes"]
    if data is None and found.get("path"):
        # A table from elsewhere must not say which files of this machine are sent.
        return Failure("INVALID_ARGUMENT", "expected the bytes of a picture; received the path of one")
    return data


def _read_tensors(batch: Any, columns: Columns) -> Iterator[Mapping[str, Array] | Failure]:
    column = batch.column(columns.value)
    shape, _ = _unfold(columns.type)
    storage = column.storage if isinstance(columns.type, pa.FixedShapeTensorType) else column
    for row in range(len(storage)):
        value = storage[row]
        if not value.is_valid:
            yield Failure("INVALID_ARGUMENT", "expected a tensor; received null")
            continue
        yield {columns.value: _flatten(value.values).reshape(shape)}


def _flatten(values: Any) -> Array:
    while pa.types.is_fixed_size_list(values.type):
        values = values.flatten()
    if values.null_count:
        raise InvalidArgument(f"expected numbers; received {values.null_count:,} nulls in a tensor")
    return np.asarray(values.to_numpy(zero_copy_only=False))


def _read_key(value: Any, column: str) -> str:
    key = value.as_py()
    if key is None or isinstance(key, bytes | list | dict):
        raise InvalidArgument(f"key column {column!r}: expected text or numbers; received {type(key).__name__}")
    return write_key(str(key))


def _digest_footer(file: Any) -> str:
    end = file.seek(0, 2)
    file.seek(end - _TAIL)
    length = int.from_bytes(file.read(4), "little")
    file.seek(end - _TAIL - length)
    return hashlib.sha256(file.read(length)).hexdigest()
