"""Pictures in a tar: read where they lie in it, never unpacked onto a disk."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import importlib
import lzma
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from tarfile import TarInfo
from typing import Any, BinaryIO, cast

from strata_client.batch.rows import Failure, Row
from strata_client.batch.sources.damage import explained
from strata_client.batch.sources.keys import explain_twice, is_hidden, write_key
from strata_client.batch.sources.listing import Entry, Listing
from strata_client.batch.sources.patterns import Wanted
from strata_client.batch.sources.pictures import explain_missing
from strata_client.batch.sources.stores import MAX_FILE_BYTES, Store, check_size, refuse_size
from strata_client.errors import InvalidArgument
from strata_client.sources import PICTURE_ENDINGS

ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst")

_EXPECTED = "a tar"

_BLOCK = 512
_LONGEST_MAGIC = 6
_LONGEST_HEAD = 2**20
_ROWS_AT_ONCE = 256
_BYTES_AT_ONCE = 2**20
# A file says itself how it is compressed; names of archives are often wrong.
_MAGICS = {b"\x1f\x8b": "gz", b"BZh": "bz2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zst"}


@dataclass(frozen=True)
class Archive:
    """A tar as it was listed."""

    store: Store
    path: str
    size: int
    """Of the file, in bytes."""
    packing: str
    """How it is compressed: a value of `_MAGICS`, or nothing."""

    @property
    def name(self) -> str:
        """What people may see."""
        return self.store.name(self.path)

    @contextlib.contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Open it to read what is not compressed any more; what cannot be read inside says so."""
        check_size(self.store, self.path, self.size)
        with (
            self.store.open(self.path) as file,
            explained(self.name, _EXPECTED),
            _unpack(file, self.packing) as unpacked,
        ):
            yield unpacked


@dataclass(frozen=True)
class Places:
    """Some pictures of a tar that is not compressed, by their offsets."""

    archive: Archive
    entries: Sequence[Entry] = field(repr=False)

    def read(self) -> Iterator[Row]:
        """Read them where they lie."""
        with self.archive.open() as file:
            for key, size, offset in self.entries:
                yield Row(key, self._read(file, size, cast("int", offset)))

    def _read(self, file: BinaryIO, size: int, offset: int) -> bytes | Failure:
        if size > MAX_FILE_BYTES:
            return refuse_size(size)
        file.seek(offset)
        return _read_whole(file, size)


@dataclass(frozen=True)
class Stretch:
    """Some pictures of a compressed tar: to get to them, all before them is read and thrown away."""

    archive: Archive
    start: int
    stop: int

    def read(self) -> Iterator[Row]:
        """Read the tar from its beginning."""
        with self.archive.open() as file:
            number = 0
            for member in _read_pictures(file, Wanted(PICTURE_ENDINGS)):
                if number >= self.start:
                    large = member.size > MAX_FILE_BYTES
                    value = refuse_size(member.size) if large else _read_whole(file, member.size)
                    yield Row(_name(member), value)
                number += 1
                if number == self.stop:
                    return
        raise InvalidArgument(f"{self.archive.name}: expected {self.stop:,} pictures, as listed; received {number:,}")


class _Heads:
    """A file of which no more is read at once than the heads of members should have: names may be of any length."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        """Read a block, or the long name of a member."""
        if size > _LONGEST_HEAD:
            raise InvalidArgument(f"expected a tar with names of at most {_LONGEST_HEAD:,} bytes; received {size:,}")
        return self._file.read(size)


class Tar:
    """The pictures of a tar, in its order. The digest sees names and sizes, as that of a folder does."""

    def __init__(self, archive: Archive, listing: Listing, skipped: dict[str, int]) -> None:
        self._archive = archive
        self._listing = listing
        self.count = listing.count
        self.digest = listing.digest
        self.skipped = skipped

    def span(self, start: int, stop: int) -> Places | Stretch:
        """Return some of the pictures; of a compressed tar, each span reads all that lies before it."""
        stop = min(stop, self.count)
        if self._archive.packing and start < stop:
            return Stretch(self._archive, start, stop)
        return Places(self._archive, self._listing.read(start, stop))

    def read(self, start: int, stop: int) -> Iterator[Row]:
        """Read pictures one after another."""
        rows = self.count if self._archive.packing else _ROWS_AT_ONCE
        for first in range(start, min(stop, self.count), rows):
            yield from self.span(first, min(first + rows, stop)).read()

    def close(self) -> None:
        """Remove the listing."""
        self._listing.close()


def open_tar(store: Store, path: str) -> Tar:
    """List the pictures of a tar, in one pass over it; of one that is not compressed, over the heads of its members.

    Links, devices and hidden files are left out; a member that stands there twice, as in a tar that was added to, is
    refused: of two rows with one key, nobody could say which is meant.

    Raises:
        InvalidArgument: it is no tar, is cut off, or holds no pictures.
        OSError: it cannot be read.
    """
    archive = Archive(store, path, store.size(path), _find_packing(store, path))
    wanted = Wanted(PICTURE_ENDINGS)
    with archive.open() as file:
        listing = Listing((_note(member) for member in _read_pictures(file, wanted)), is_sorted=False)
        while archive.packing and file.read(_BYTES_AT_ONCE):
            pass  # the checksum of it all stands at the end
    try:
        _check(listing, archive.name, wanted)
        return Tar(archive, listing, dict(wanted.skipped))
    except BaseException:
        listing.close()
        raise


def _check(listing: Listing, name: str, wanted: Wanted) -> None:
    if not listing.count:
        raise explain_missing(name, wanted.skipped)
    if (twice := listing.twice) is not None:
        first, second = (cast("int", listing.read(number, number + 1)[0].place) for number in twice[1:])
        raise explain_twice(name, twice.key, f"the members at byte {first:,}", f"at byte {second:,}")


def _read_pictures(file: BinaryIO, wanted: Wanted) -> Iterator[TarInfo]:
    for member in _read_members(file):
        name = _name(member)
        # A sparse file does not lie in the tar as it is.
        if member.isreg() and not member.issparse() and not is_hidden(name) and wanted.takes(name):
            yield member


def _read_members(file: BinaryIO) -> Iterator[TarInfo]:
    # It holds nothing but the file, which is not its own.
    archive = tarfile.open(fileobj=cast("BinaryIO", _Heads(file)), mode="r:")  # noqa: SIM115
    last = "its first member"
    while (member := _next(archive, last)) is not None:
        archive.members.clear()  # type: ignore[attr-defined]  # it would remember all of them
        last = f"the member {write_key(member.name)!r}"
        yield member
    # tarfile takes the end of a file, and whatever is no head, for the end of the tar.
    file.seek(archive.offset)
    if file.read(_BLOCK) != bytes(_BLOCK):
        raise InvalidArgument(
            f"expected a whole tar; it is cut off or damaged at byte {archive.offset:,}, behind {last}"
        )


def _next(archive: tarfile.TarFile, last: str) -> TarInfo | None:
    try:
        member = archive.next()
    except (tarfile.TarError, EOFError) as error:
        where = f"at or before byte {archive.offset:,}, in {last}"
        raise InvalidArgument(f"expected a whole tar; it is cut off or damaged {where}") from error
    if member is not None and member.size < 0:
        raise InvalidArgument(f"expected a tar; a member behind {last} has a size of {member.size}")
    return member


def _read_whole(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise InvalidArgument(f"expected a whole tar; {size - len(data):,} bytes of a member are missing")
    return data


def _note(member: TarInfo) -> Entry:
    return Entry(_name(member), member.size, member.offset_data)


def _name(member: TarInfo) -> str:
    # As `tar --create .` writes them: the same pictures get the same keys from the folder and from the tar.
    return write_key(member.name.removeprefix("./"))


def _find_packing(store: Store, path: str) -> str:
    with store.open(path) as file:
        head = file.read(_LONGEST_MAGIC)
    return next((packing for magic, packing in _MAGICS.items() if head.startswith(magic)), "")


def _unpack(file: BinaryIO, packing: str) -> contextlib.AbstractContextManager[BinaryIO]:
    if packing == "gz":
        return cast("BinaryIO", gzip.GzipFile(fileobj=file))
    if packing == "bz2":
        return cast("BinaryIO", bz2.BZ2File(file))
    if packing == "xz":
        return cast("BinaryIO", lzma.LZMAFile(file))
    return _unpack_zstd(file) if packing else file


def _unpack_zstd(file: BinaryIO) -> BinaryIO:
    try:
        zstd: Any = importlib.import_module("compression.zstd")
    except ModuleNotFoundError as error:
        raise InvalidArgument("expected Python 3.14 or newer, which reads what zstd compressed") from error
    return cast("BinaryIO", zstd.ZstdFile(file))
