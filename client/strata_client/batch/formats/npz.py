"""Results as one `.npz` file, which `numpy.load` opens without pickle.

Its arrays are `key`, `label`, `error_code` and `error` (text, empty where a row has none), `score` (float32, NaN where
a row has none), one for each `Column`, and `_strata`: the job's fingerprint and the counts as JSON. Text is compressed,
as one long error makes every row as wide; numbers are not, so that any rows of a large file can be reached at once.

The file is made at the end, in the memory of a row group. Until then the parts stand beside it, as Parquet in
`DEST.npz.parts/`; they are removed when it is there. A part that is written again afterwards takes its rows' place when
it is made once more.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import numpy as np

from strata_client.activity import Array
from strata_client.batch.blocks import NAMED, Block, Column, Found, Layout, Part, assemble
from strata_client.batch.formats.parquet import Parquet, name_part, to_numpy
from strata_client.batch.place import Place
from strata_client.errors import InvalidArgument
from strata_client.names import escape

_BESIDE = ".parts"
_DRAFT = "result.npz"
_SUMMARY = "_strata"
_SCORE = Column("score", np.dtype(np.float32), ())


class Npz:
    """One file at the end; parts beside it until then."""

    name = "npz"

    def __init__(self) -> None:
        self._parts = Parquet()

    def locate(self, where: str) -> Place:
        """Return the folder for the parts, beside the file and named after it: `DEST.npz.parts`."""
        return Place(f"{where.rstrip('/')}{_BESIDE}")

    def prepare(self, place: Place, layout: Layout, fingerprint: str) -> None:
        """Make the folder for the parts.

        Raises:
            InvalidArgument: the file is there already and of another job, or a column has no elements.
            OSError: it cannot be made.
        """
        with suppress(FileNotFoundError), _open(place) as result:
            if result.fingerprint != fingerprint:
                folder, name = _target(place)
                raise InvalidArgument(f"{folder.name(name)} is the result of another job: choose another name")
        self._parts.prepare(place, layout, fingerprint)

    def find(self, place: Place, part: Part) -> Found | None:
        """Look for a part in the folder for parts, then in the finished file.

        Raises:
            InvalidArgument: either is damaged, or not made by a batch.
        """
        found = self._parts.find(place, part)
        folder, name = _target(place)
        if found or not folder.exists(name):
            return found
        with _open(place) as result:
            return result.find(part)

    def write(self, place: Place, layout: Layout, part: Part, fingerprint: str, blocks: Iterable[Block]) -> Found:
        """Write a part into the folder for parts."""
        return self._parts.write(place, layout, part, fingerprint, blocks)

    def read(self, place: Place, layout: Layout, part: Part) -> Iterator[Block]:
        """Read a part, from the folder for parts or the finished file."""
        if place.exists(name_part(part)):
            yield from self._parts.read(place, layout, part)
            return
        with _open(place) as result:
            yield from result.read(layout, part)

    def finish(self, place: Place, layout: Layout, fingerprint: str) -> None:
        """Make the file of all parts, and remove them. Where there are none, it is done already."""
        folder, name = _target(place)
        parts = [layout.part(number) for number in range(layout.part_count)]
        if folder.exists(name) and not any(place.exists(name_part(part)) for part in parts):
            return
        counts = [self._count_failed(place, part) for part in parts]
        summary = {"fingerprint": fingerprint, "rows": layout.rows, "part_rows": layout.part_rows, "failed": counts}
        with place.replacing(_DRAFT) as file, ZipFile(file, "w") as archive:
            for text in NAMED:
                if text != _SCORE.name:
                    self._write_text(archive, text, place, layout)
            for column in (_SCORE, *layout.columns):
                with _open_member(archive, column.name, column.dtype, (layout.rows, *column.shape)) as member:
                    for array in self._stream(place, layout, column):
                        member.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
            with archive.open(_member(_SUMMARY), "w") as member:
                np.lib.format.write_array(member, np.array(json.dumps(summary)), allow_pickle=False)
        place.publish(_DRAFT, folder.name(name))
        for part in parts:
            place.remove(name_part(part))

    def _count_failed(self, place: Place, part: Part) -> int:
        found = self.find(place, part)
        if found is None:
            raise FileNotFoundError(f"{place.name(name_part(part))}: expected all parts to be there")
        return found.failed

    def _write_text(self, archive: ZipFile, name: str, place: Place, layout: Layout) -> None:
        # All rows of numpy's text are as wide as the widest, which is known when all have been read once.
        width = max((_width(array) for array in self._stream(place, layout, name)), default=1)
        dtype = np.dtype(f"<U{width}")
        with _open_member(archive, name, dtype, (layout.rows,), ZIP_DEFLATED) as member:
            for array in self._stream(place, layout, name):
                member.write(array.astype(dtype).view(np.uint8).data)

    def _stream(self, place: Place, layout: Layout, column: Column | str) -> Iterator[Array]:
        """Read a column of all rows, a group at a time; one of text by its name."""
        for number in range(layout.part_count):
            part = layout.part(number)
            name = column if isinstance(column, str) else column.name
            if place.exists(name_part(part)):
                for values in self._parts.read_column(place, part, name):
                    yield _to_text(values) if isinstance(column, str) else to_numpy(values, column)
            else:
                with _open(place) as result:
                    yield from result.slices(name, part, layout.group_rows)


class _Result:
    """A finished file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._archive = ZipFile(file)
        with self._archive.open(f"{_SUMMARY}.npy") as member:
            array = np.lib.format.read_array(member, allow_pickle=False)
        summary = json.loads(str(array))
        self.fingerprint = str(summary["fingerprint"])
        self._rows = int(summary["rows"])
        self._part_rows = int(summary["part_rows"])
        self._failed = [int(count) for count in summary["failed"]]

    def find(self, part: Part) -> Found:
        """Return what is in it of a part."""
        start = part.number * self._part_rows
        if part.number >= len(self._failed):
            raise ValueError(f"expected part {part.number}; received {len(self._failed)} parts")
        return Found(self.fingerprint, min(self._part_rows, self._rows - start), self._failed[part.number])

    def read(self, layout: Layout, part: Part) -> Iterator[Block]:
        """Read a part, a group at a time."""
        names = [*NAMED, *(column.name for column in layout.columns)]
        streams = [self.slices(name, part, layout.group_rows) for name in names]
        for arrays in zip(*streams, strict=True):
            yield assemble(dict(zip(names, arrays, strict=True)), layout)

    def slices(self, name: str, part: Part, rows: int) -> Iterator[Array]:
        """Read the rows of a part from one array, some at a time."""
        info = self._archive.getinfo(f"{escape(name)}.npy")
        with self._archive.open(info) as member:
            np.lib.format.read_magic(member)
            shape, _, dtype = np.lib.format.read_array_header_1_0(member)
            row_bytes = dtype.itemsize * int(np.prod(shape[1:], dtype=np.int64))
            # Before Python 3.13 a member that is not compressed is read up to where it shall be.
            stored = info.compress_type == ZIP_STORED
            begin = self._find_data(info) + member.tell() if stored else member.tell()
            for start in range(part.start, part.stop, rows):
                count = min(rows, part.stop - start)
                source: IO[bytes] = self._file if stored else member
                source.seek(begin + start * row_bytes)
                data = source.read(count * row_bytes)
                yield np.frombuffer(data, dtype).reshape(count, *shape[1:])

    def _find_data(self, info: ZipInfo) -> int:
        """Return where the bytes of a member begin: behind its header, its name and what else is said of it."""
        self._file.seek(info.header_offset + 26)
        name_bytes, more_bytes = struct.unpack("<HH", self._file.read(4))
        return info.header_offset + 30 + int(name_bytes) + int(more_bytes)


@contextmanager
def _open(place: Place) -> Iterator[_Result]:
    folder, name = _target(place)
    with folder.open(name) as file:
        try:
            yield _Result(file)
        except (BadZipFile, EOFError, ValueError, KeyError, TypeError) as error:
            what = f"{folder.name(name)} is damaged, or no batch made it: remove it, or choose another name"
            raise InvalidArgument(f"{what}; {error}") from error


def _target(place: Place) -> tuple[Place, str]:
    """Return where the finished file lies: beside the folder for the parts."""
    folder, slash, name = place.where.removesuffix(_BESIDE).rpartition("/")
    return Place(folder or slash or "."), name


@contextmanager
def _open_member(
    archive: ZipFile, name: str, dtype: np.dtype[Any], shape: tuple[int, ...], compression: int = ZIP_STORED
) -> Iterator[IO[bytes]]:
    """Begin an array in an archive; what is written behind its header are its rows."""
    info = _member(name)
    info.compress_type = compression
    with archive.open(info, "w", force_zip64=True) as member:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(member, header)
        yield member


def _member(name: str) -> ZipInfo:
    return ZipInfo(f"{escape(name)}.npy")  # of a fixed date: the same rows give the same file


def _to_text(values: Any) -> Array:
    return np.array([text or "" for text in values.to_pylist()], np.str_)


def _width(array: Array) -> int:
    return max(1, int(np.strings.str_len(array).max(initial=1)))
