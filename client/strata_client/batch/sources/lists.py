"""A list of pictures: a path or a URL in each line."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from strata_client.batch.rows import Failure
from strata_client.batch.sources.keys import explain_twice, hide_credentials, write_key
from strata_client.batch.sources.listing import Entry, Listing, write_place
from strata_client.batch.sources.pictures import Pictures
from strata_client.batch.sources.remote import locate
from strata_client.batch.sources.stores import Local, Store
from strata_client.errors import InvalidArgument

ENDINGS = (".txt", ".lst")

_LONGEST_LINE = 65_536
_UTF8_MARK = "\ufeff"


@dataclass(frozen=True)
class Lines:
    """Reads what lines of a list name: URLs, and paths beneath the folder of the list."""

    store: Store
    folder: str

    def read(self, files: Sequence[tuple[str, int]]) -> Iterator[bytes | Failure]:
        """Read them in their order; those beside each other in one store together."""
        located = [self._locate(line) for line, _ in files]
        for store, group in itertools.groupby(located, key=lambda each: each[0]):
            yield from store.read([(path, -1) for _, path in group])

    def _locate(self, line: str) -> tuple[Store, str]:
        if "://" in line:
            return locate(line)
        is_whole = isinstance(self.store, Local) and line.startswith("/")
        return self.store, line if is_whole else f"{self.folder}{line}"


def open_list(store: Store, path: str) -> Pictures:
    """Return the pictures that a file names, or standard input where the path is `-`.

    The digest sees the lines alone: the files are not asked for before they are read, so that one that is missing may
    be put there later and the job be run again for it.

    Raises:
        InvalidArgument: a line is no path, a line stands there twice, or there is none.
        OSError: it cannot be read.
    """
    is_input = path == "-"
    name = "standard input" if is_input else store.name(path)
    with contextlib.nullcontext(sys.stdin.buffer) if is_input else store.open(path) as file:
        listing = Listing(_read_lines(file, name, isinstance(store, Local)), is_sorted=False)
    try:
        _check(listing, name)
        return Pictures(listing, Lines(store, _find_folder(path)), "", {})
    except BaseException:
        listing.close()
        raise


def _check(listing: Listing, name: str) -> None:
    if not listing.count:
        raise InvalidArgument(f"{name}: expected pictures, a path or a URL in each line; received no lines")
    # To number them would make keys that depend on the order of the list; twice is mostly a mistake.
    if (twice := listing.twice) is not None:
        raise explain_twice(name, twice.key, _tell(listing, twice.first), _tell(listing, twice.second))


def _tell(listing: Listing, row: int) -> str:
    place = listing.read(row, row + 1)[0].place
    return f"line {place}" if isinstance(place, int) else f"row {row + 1}"


def _find_folder(path: str) -> str:
    folder = str(Path.cwd()) if path == "-" else path.rpartition("/")[0]
    return folder.rstrip("/") + "/"


def _read_lines(file: BinaryIO, name: str, may_be_local: bool) -> Iterator[Entry]:
    for number, data in enumerate(iter(lambda: file.readline(_LONGEST_LINE), b""), 1):
        line = data.decode("utf-8", "surrogateescape").rstrip("\r\n")
        if number == 1:
            line = line.removeprefix(_UTF8_MARK)
        if not line.strip():
            continue
        if "\0" in line or len(data) == _LONGEST_LINE:
            raise InvalidArgument(f"{name}, line {number}: expected a path or a URL; received what is neither")
        # A list from far away must not say which files of this machine are sent.
        if not may_be_local and (line.startswith(("/", "../")) or "/../" in line or _is_here(line)):
            raise InvalidArgument(f"{name}, line {number}: expected a URL or a path beneath the list's folder")
        yield _note(line, number)


def _is_here(line: str) -> bool:
    return "file://" in line or "local://" in line


def _note(line: str, number: int) -> Entry:
    key = write_key(hide_credentials(line))
    return Entry(key, -1, number if key == line else write_place(line))
