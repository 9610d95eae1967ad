"""Where the rows of a batch come from: one name for a folder, a pattern, a list, a tar, arrays or Parquet."""

from __future__ import annotations

import errno
import glob
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from strata_client.batch.job import MANIFEST
from strata_client.batch.rows import Source
from strata_client.batch.sources import arrays, lists, tars
from strata_client.batch.sources.keys import write_key
from strata_client.batch.sources.patterns import Wanted, has_wildcards, read_ending, split_pattern
from strata_client.batch.sources.pictures import explain_missing, open_pictures
from strata_client.batch.sources.remote import locate
from strata_client.batch.sources.stores import Local, Store
from strata_client.errors import InvalidArgument
from strata_client.sources import PICTURE_ENDINGS

__all__ = ["open_source"]

_TABLE = ".parquet"
_KINDS = "a folder, a pattern, a list (.txt, .lst, or - for standard input), a tar, .npy, .npz, .parquet or a picture"


def open_source(where: str, *, image_column: str = "", key_column: str = "") -> Source:
    """Return the rows that a user names; to be closed.

    Args:
        where: a folder of pictures or of Parquet files, a pattern of their paths such as `shots/*/night-*.png`, a
            list of pictures (`.txt`, `.lst`, or `-` for standard input), a tar of them, `.npy`, `.npz`, a Parquet
            file or a picture; a path, or a URL that fsspec knows, such as `s3://bucket/folder`.
        image_column: of Parquet, the column with the pictures or tensors; not needed where there is one.
        key_column: of Parquet, the column with the keys; rows have numbers otherwise.

    Raises:
        InvalidArgument: it is something else, damaged, or empty.
        ResourceExhausted: rows of arrays are larger than a request may be.
        MissingExtra: a package that it needs is not installed.
        OSError: it is not there, or cannot be read.
    """
    if not where:
        raise InvalidArgument(f"source: expected {_KINDS}; received an empty name")
    names = _Names(image_column, key_column)
    if where == "-":
        names.refuse("standard input")
        return lists.open_list(Local(), where)
    store, path = locate(where)
    if store.is_folder(path):
        return _open_folder(store, path, "**", names)
    if store.is_file(path):
        return _open_file(store, path, names)
    if has_wildcards(path):
        return _open_folder(store, *split_pattern(path), names)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), store.name(path))


@dataclass(frozen=True)
class _Names:
    """Of the columns, where the user gave them."""

    image: str
    key: str

    def refuse(self, name: str) -> None:
        """Refuse them for what has no columns."""
        if self.image or self.key:
            raise InvalidArgument(f"{name}: expected Parquet, as a column is named: {self.image or self.key!r}")


def _open_folder(store: Store, folder: str, pattern: str, names: _Names) -> Source:
    skipped: Mapping[str, int] = {_TABLE: 1}
    if names == _Names("", ""):
        pictures = open_pictures(store, folder, pattern)
        if pictures.count:
            return pictures
        pictures.close()
        skipped = pictures.skipped
    if _TABLE not in skipped:
        raise explain_missing(store.name(folder), skipped)
    wanted = Wanted((_TABLE,), pattern)
    found = sorted(path for path, _ in store.find(folder, wanted))
    start = f"{folder.rstrip('/')}/"
    results = _find_results(store, start, found)
    paths = [path for path in found if not path.startswith(results)]
    if not paths:
        names.refuse(store.name(folder))
    return _open_tables(store, [(start + path, f"{write_key(path)}:") for path in paths], names, wanted.skipped)


def _find_results(store: Store, start: str, paths: Sequence[str]) -> tuple[str, ...]:
    """Return the folders beneath that hold a result of a batch, perhaps of the very job that is being gone on with."""
    beneath = {path[: at + 1] for path in paths for at, letter in enumerate(path) if letter == "/"}
    return tuple(sorted(each for each in beneath if store.is_file(f"{start}{each}{MANIFEST}")))


def _open_file(store: Store, path: str, names: _Names) -> Source:
    ending = read_ending(path)
    if ending == _TABLE:
        return _open_tables(store, [(path, "")], names, {})
    names.refuse(store.name(path))
    if ending in lists.ENDINGS:
        return lists.open_list(store, path)
    if path.lower().endswith(tars.ENDINGS):
        return tars.open_tar(store, path)
    if ending in arrays.ENDINGS:
        return arrays.open_arrays(store, path)
    if ending not in PICTURE_ENDINGS:
        raise InvalidArgument(f"{store.name(path)}: expected {_KINDS}; received a file that ends in {ending!r}")
    name = path[path.rfind("/") + 1 :]
    found = open_pictures(store, path.removesuffix(name), glob.escape(name))
    if not found.count:
        found.close()
        raise explain_missing(store.name(path), found.skipped)
    return found


def _open_tables(store: Store, paths: Sequence[tuple[str, str]], names: _Names, skipped: Mapping[str, int]) -> Source:
    from strata_client.batch.sources import tables  # noqa: PLC0415  pyarrow is an extra

    return tables.open_tables(store, paths, names.image, names.key, skipped)
