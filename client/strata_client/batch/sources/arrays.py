"""Arrays: the rows of what `numpy.save` and `numpy.savez` wrote, never more than some of them at once."""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, cast
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import numpy as np

from strata_client.batch.rows import Row
from strata_client.batch.sources.damage import explained
from strata_client.batch.sources.stores import MAX_FILE_BYTES, Store, check_size
from strata_client.errors import InvalidArgument, ResourceExhausted

ENDINGS = (".npy", ".npz")

_EXPECTED = "an .npy or .npz file of numbers or text"

_ENDING = ".npy"
_KINDS = "biufU"  # truth values, numbers and text: what enters a network
_BYTES_AT_ONCE = 2**20


@dataclass(frozen=True)
class Member:
    """An array as its head describes it."""

    name: str
    """Of an input or a layer; empty for the only input."""
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    offset: int
    """Of its first number, behind the head."""

    @property
    def row_bytes(self) -> int:
        """How many bytes a row of it has."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize


@dataclass(frozen=True)
class Rows:
    """Some rows of arrays. Those before them in an .npz file are read, and unpacked where they are compressed."""

    store: Store
    path: str
    size: int
    """Of the file, in bytes."""
    is_zip: bool
    members: Sequence[Member]
    start: int
    stop: int

    def read(self) -> Iterator[Row]:
        """Read the rows, about a megabyte at a time; the arrays cannot be written to."""
        check_size(self.store, self.path, self.size)
        at_once = max(1, _BYTES_AT_ONCE // max(member.row_bytes for member in self.members))
        with contextlib.ExitStack() as stack:
            stack.enter_context(explained(self.store.name(self.path), _EXPECTED))
            streams = self._open(stack)
            for first in range(self.start, self.stop, at_once):
                count = min(at_once, self.stop - first)
                arrays = [_read_rows(*each, count) for each in zip(streams, self.members, strict=True)]
                for row in range(count):
                    values = {member.name: array[row, ...] for member, array in zip(self.members, arrays, strict=True)}
                    yield Row(str(first + row), values)

    def _open(self, stack: contextlib.ExitStack) -> list[BinaryIO]:
        file = stack.enter_context(self.store.open(self.path))
        streams = [file]
        if self.is_zip:
            archive = stack.enter_context(ZipFile(file))
            opened = [archive.open(f"{member.name}{_ENDING}") for member in self.members]
            streams = [cast("BinaryIO", stack.enter_context(each)) for each in opened]
        for member, stream in zip(self.members, streams, strict=True):
            stream.seek(member.offset + self.start * member.row_bytes)
        return streams


class Arrays:
    """The rows of arrays; their keys are their numbers.

    The digest sees the types and shapes, and the checksums that an .npz file holds. An .npy file has none: one that is
    overwritten by another of the same shape while a job is interrupted passes unseen, and the rows that were done
    before are those of the old one.
    """

    def __init__(self, store: Store, path: str, members: Sequence[Member], checksums: Sequence[int]) -> None:
        self._store, self._path, self._members, self._is_zip = store, path, members, bool(checksums)
        self._size = store.size(path)
        self.count = members[0].shape[0]
        self.skipped: Mapping[str, int] = {}
        about = [(member.name, member.dtype.str, member.shape) for member in members]
        self.digest = hashlib.sha256(repr((about, checksums)).encode()).hexdigest()

    def span(self, start: int, stop: int) -> Rows:
        """Return some of the rows."""
        return Rows(self._store, self._path, self._size, self._is_zip, self._members, start, min(stop, self.count))

    def read(self, start: int, stop: int) -> Iterator[Row]:
        """Read rows one after another."""
        return self.span(start, stop).read()

    def close(self) -> None:
        """Nothing is held open."""


def open_arrays(store: Store, path: str) -> Arrays:
    """Read the heads of a file of arrays.

    Raises:
        InvalidArgument: it is none, is cut off, holds Python objects, arrays in Fortran's order, or of different
            numbers of rows.
        ResourceExhausted: a row is larger than a request may be.
        OSError: it cannot be read.
    """
    with explained(store.name(path), _EXPECTED), store.open(path) as file:
        # What begins like a zip file is an .npz one, whatever its name.
        is_zip = file.read(2) == b"PK"
        members, checksums = _read_zip(file) if is_zip else _read_single(file)
        _check_together(members)
    return Arrays(store, path, members, checksums)


def _read_single(file: BinaryIO) -> tuple[list[Member], list[int]]:
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    member = _read_head(file, "")
    expected = member.offset + member.row_bytes * member.shape[0]
    if size < expected:
        raise InvalidArgument(f"expected {expected:,} bytes for shape {member.shape}; it is cut off at {size:,}")
    return [member], []


def _read_zip(file: BinaryIO) -> tuple[list[Member], list[int]]:
    with ZipFile(file) as archive:
        infos = archive.infolist()
        names = [info.filename for info in infos]
        if not names or len(set(names)) < len(names):
            raise InvalidArgument(f"expected arrays, each name once; received {len(names)} members")
        return [_read_member(archive, info) for info in infos], [info.CRC for info in infos]


def _read_member(archive: ZipFile, info: ZipInfo) -> Member:
    if not info.filename.endswith(_ENDING):
        raise InvalidArgument(f"its member {info.filename!r} does not end in {_ENDING}")
    if info.compress_type not in {ZIP_STORED, ZIP_DEFLATED}:
        raise InvalidArgument(f"its member {info.filename!r} is compressed otherwise than numpy does")
    with archive.open(info) as file:
        member = _read_head(cast("BinaryIO", file), info.filename.removesuffix(_ENDING))
    expected = member.offset + member.row_bytes * member.shape[0]
    if info.file_size != expected:
        # The reading stops at the size that the archive states, however much more unpacks.
        raise InvalidArgument(
            f"its member {info.filename!r} should have {expected:,} bytes; it says {info.file_size:,}"
        )
    return member


def _read_head(file: BinaryIO, name: str) -> Member:
    version = np.lib.format.read_magic(file)
    if version not in {(1, 0), (2, 0)}:
        raise InvalidArgument(f"expected an array of numbers or text; received version {version} of the format")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = read(file)
    if dtype.kind not in _KINDS or dtype.itemsize == 0:
        raise InvalidArgument(f"expected numbers or text; received elements of type {dtype}")
    # A row of it would lie all over the file.
    if is_fortran and len(shape) > 1:
        raise InvalidArgument("expected an array in C order; received Fortran order: numpy.ascontiguousarray turns it")
    member = Member(name, dtype, tuple(shape), file.tell())
    _check_shape(shape, member.row_bytes if shape else 0)
    return member


def _check_shape(shape: Sequence[int], row_bytes: int) -> None:
    if min(shape, default=-1) <= 0:
        raise InvalidArgument(f"expected rows with numbers in them; received shape {tuple(shape)}")
    if row_bytes > MAX_FILE_BYTES:
        raise ResourceExhausted(f"expected rows of at most {MAX_FILE_BYTES:,} bytes; received {row_bytes:,}")


def _check_together(members: Sequence[Member]) -> None:
    if len({member.shape[0] for member in members}) > 1:
        raise InvalidArgument(f"expected arrays of as many rows each; received {_describe(members)}")
    _check_shape(members[0].shape, sum(member.row_bytes for member in members))


def _describe(members: Sequence[Member]) -> str:
    return ", ".join(f"{member.name} {member.shape}".strip() for member in members[:8])


def _read_rows(stream: BinaryIO, member: Member, count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    size = count * member.row_bytes
    data = stream.read(size)
    if len(data) < size:
        raise InvalidArgument(f"it is cut off: {size - len(data):,} bytes of an array are missing")
    return np.frombuffer(data, member.dtype).reshape(count, *member.shape[1:])
