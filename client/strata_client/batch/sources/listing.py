"""What a source holds, in order, on disk: a million rows take no more memory than ten."""

import contextlib
import errno
import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from typing import NamedTuple

# SQLite sorts in C, within the memory it is told, and finds the row of any number: all that a listing needs, and in the
# standard library. An empty name is a file of its own that vanishes with the connection; nobody reads it after a crash.
_SETTINGS = """
    PRAGMA journal_mode = OFF;
    PRAGMA synchronous = OFF;
    PRAGMA temp_store = FILE;
    PRAGMA cache_size = -2048;
    CREATE TABLE found (number INTEGER PRIMARY KEY, key TEXT, size INTEGER, place);
    BEGIN;
"""
_SORT = """
    CREATE TABLE sorted (number INTEGER PRIMARY KEY, key TEXT, size INTEGER, place);
    INSERT INTO sorted (key, size, place) SELECT key, size, place FROM found ORDER BY key;
    DROP TABLE found;
    ALTER TABLE sorted RENAME TO found;
"""
_TWICE = "SELECT key, min(number), max(number) FROM found GROUP BY key HAVING count(*) > 1 LIMIT 1"
_ROWS_AT_ONCE = 1024


class Entry(NamedTuple):
    """A row as it was found."""

    key: str
    size: int
    """In bytes; -1 where it is not known."""
    place: bytes | int | None = None
    """Where it is: a path, encoded by `write_place`, if the key is not the path; an offset, or the number of a line."""


class Twice(NamedTuple):
    """A key of two rows."""

    key: str
    first: int
    """The number of the first of them, from 0."""
    second: int


class Listing:
    """The rows of a source.

    Args:
        entries: in any order.
        is_sorted: whether they are to be put in the order of their keys, by code points; else they stay as they come.

    Raises:
        OSError: the disk for temporary files is full.
    """

    def __init__(self, entries: Iterable[Entry], *, is_sorted: bool) -> None:
        # Whoever reads may do so in a thread of its own.
        self._rows = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        with contextlib.ExitStack() as stack:
            stack.callback(self.close)
            with _explained():
                self._rows.executescript(_SETTINGS)
                self._rows.executemany("INSERT INTO found (key, size, place) VALUES (?, ?, ?)", entries)
                self._rows.execute("COMMIT")
                if is_sorted:
                    self._rows.executescript(_SORT)
                self.count: int = self._rows.execute("SELECT count(*) FROM found").fetchone()[0]
            stack.pop_all()

    @property
    def twice(self) -> Twice | None:
        """One of the keys that more than one row has."""
        with _explained():
            row = self._rows.execute(_TWICE).fetchone()
        return None if row is None else Twice(row[0], row[1] - 1, row[2] - 1)

    @property
    def digest(self) -> str:
        """SHA-256 over the keys and sizes."""
        digest = hashlib.sha256()
        with _explained():
            rows = self._rows.execute("SELECT key, size FROM found ORDER BY number")
            while some := rows.fetchmany(_ROWS_AT_ONCE):
                # With its length in front, no key can pass for another one and its size.
                digest.update("".join([f"{len(key)}:{key}{size};" for key, size in some]).encode())
        return digest.hexdigest()

    def read(self, start: int, stop: int) -> list[Entry]:
        """Return some of the rows; nothing before them is read."""
        with _explained():
            rows = self._rows.execute(
                "SELECT key, size, place FROM found WHERE number > ? AND number <= ? ORDER BY number", (start, stop)
            ).fetchall()
        return [Entry._make(row) for row in rows]

    def close(self) -> None:
        """Remove it from the disk."""
        self._rows.close()


def write_place(path: str) -> bytes:
    """Return a path as an entry holds it, whatever bytes it is made of."""
    return path.encode("utf-8", "surrogatepass")


def read_place(entry: Entry) -> str:
    """Return the path of an entry."""
    return entry.place.decode("utf-8", "surrogatepass") if isinstance(entry.place, bytes) else entry.key


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise OSError(errno.ENOSPC, f"the listing of the source cannot be kept: {error}") from error
