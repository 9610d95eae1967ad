"""Pictures in files of their own: a folder of them, or those that a pattern names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from strata_client.batch.rows import Failure, Row
from strata_client.batch.sources.keys import explain_twice, write_key
from strata_client.batch.sources.listing import Entry, Listing, read_place, write_place
from strata_client.batch.sources.patterns import Wanted, describe_skipped
from strata_client.batch.sources.stores import Store
from strata_client.errors import InvalidArgument
from strata_client.sources import PICTURE_ENDINGS

_ROWS_AT_ONCE = 256


class Reader(Protocol):
    """Reads files by their paths and what is known of their sizes."""

    def read(self, files: Sequence[tuple[str, int]]) -> Iterator[bytes | Failure]:
        """Read them in their order."""
        ...


@dataclass(frozen=True)
class Files:
    """Some of the files; they hold what they hold when they are read."""

    reader: Reader
    folder: str
    """With a slash behind it, or empty where the paths need none."""
    entries: Sequence[Entry] = field(repr=False)

    def read(self) -> Iterator[Row]:
        """Read the files in their order."""
        paths = [(self.folder + read_place(entry), entry.size) for entry in self.entries]
        for entry, value in zip(self.entries, self.reader.read(paths), strict=True):
            yield Row(entry.key, value)


class Pictures:
    """Pictures by their paths, in the order of a listing.

    The digest sees names and sizes, not what the files hold and not when they were written: a copy of a folder is the
    same source. A picture that is overwritten by one of the same size while a job is interrupted passes unseen, and
    the result has the old row or the new one, by whether it was done before.
    """

    def __init__(self, listing: Listing, reader: Reader, folder: str, skipped: Mapping[str, int]) -> None:
        self._listing = listing
        self._reader = reader
        self._folder = folder
        self.count = listing.count
        self.digest = listing.digest
        self.skipped = dict(skipped)

    def span(self, start: int, stop: int) -> Files:
        """Return some of the files, by their paths."""
        return Files(self._reader, self._folder, self._listing.read(start, stop))

    def read(self, start: int, stop: int) -> Iterator[Row]:
        """Read files one after another, from a store far away some at a time."""
        for first in range(start, min(stop, self.count), _ROWS_AT_ONCE):
            yield from self.span(first, min(first + _ROWS_AT_ONCE, stop)).read()

    def close(self) -> None:
        """Remove the listing."""
        self._listing.close()


def open_pictures(store: Store, folder: str, pattern: str) -> Pictures:
    """List the pictures beneath a folder whose paths a pattern matches, if there are any.

    Raises:
        InvalidArgument: the names of two files become one key.
        OSError: the folder, or one in it, cannot be read.
    """
    wanted = Wanted(PICTURE_ENDINGS, pattern)
    listing = Listing((_note(path, size) for path, size in store.find(folder, wanted)), is_sorted=True)
    try:
        if (twice := listing.twice) is not None:
            name = store.name(folder)
            raise explain_twice(name, twice.key, "a file", "another one, of whose name not all is text,")
        return Pictures(listing, store, f"{folder.rstrip('/')}/", wanted.skipped)
    except BaseException:
        listing.close()
        raise


def explain_missing(name: str, skipped: Mapping[str, int]) -> InvalidArgument:
    """Return the error for a place without pictures."""
    found = describe_skipped(skipped)
    expected = f"pictures, which end in {', '.join(PICTURE_ENDINGS)}"
    return InvalidArgument(f"{name}: expected {expected}; received {found or 'no files'}")


def _note(path: str, size: int) -> Entry:
    key = write_key(path)
    return Entry(key, size, None if key == path else write_place(path))
