"""Files at URLs, by fsspec: S3, GCS, Azure, HTTP and what else it has a package for."""

from __future__ import annotations

import contextlib
import errno
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from strata_client.batch.rows import Failure
from strata_client.batch.sources.keys import hide_credentials, is_hidden
from strata_client.batch.sources.patterns import Wanted
from strata_client.batch.sources.stores import MAX_FILE_BYTES, Local, Store, fail, refuse_size
from strata_client.errors import InvalidArgument, MissingExtra, StrataError

_FETCHED_AT_ONCE = 64  # files: the way there and back takes longer than a small picture
_BYTES_AT_ONCE = 64 * 2**20
_GUESS = 4 * 2**20  # bytes of a file whose size nobody told: sixteen of them at once
_HERE = ("file://", "local://")


class MissingFilesystem(MissingExtra):
    """The package that fsspec needs for a protocol is not installed."""

    def __init__(self, protocol: str, wanted: str) -> None:
        StrataError.__init__(self, f"{protocol}:// needs a package that is not installed: {wanted}")


@dataclass(frozen=True)
class Remote:
    """The files of one file system of fsspec."""

    files: Any = field(repr=False)  # it knows the credentials

    def name(self, path: str) -> str:
        """Return the URL without what is secret in it."""
        return hide_credentials(self.files.unstrip_protocol(path))

    def is_folder(self, path: str) -> bool:
        """Say whether there is a folder, or objects whose names begin like one."""
        with self._explained(path):
            return bool(self.files.isdir(path))

    def is_file(self, path: str) -> bool:
        """Say whether there is a file."""
        with self._explained(path):
            return bool(self.files.isfile(path))

    def find(self, folder: str, wanted: Wanted) -> Iterator[tuple[str, int]]:
        """List files; fsspec holds all of them at once, about a kilobyte for each, until they are listed."""
        with self._explained(folder):
            found = self.files.find(folder, maxdepth=wanted.depth, detail=True)
            self.files.invalidate_cache()
        start = folder.rstrip("/") + "/"
        for path, about in found.items():
            beneath = path.removeprefix(start)
            if path.startswith(start) and not is_hidden(beneath) and wanted.takes(beneath):
                yield beneath, _read_size(about)

    def read(self, files: Sequence[tuple[str, int]]) -> Iterator[bytes | Failure]:
        """Read files, many of them at the same time where the file system can do that."""
        for group in _group(files):
            yield from self._fetch(group)

    def open(self, path: str) -> BinaryIO:
        """Open a file, of which parts are fetched as they are read."""
        with self._explained(path):
            # What fsspec opens lacks some of what files have, such as lines of a largest length.
            return io.BufferedReader(self.files.open(path, "rb"))

    def size(self, path: str) -> int:
        """Ask for it again, whatever was known."""
        with self._explained(path):
            self.files.invalidate_cache(path)
            return _read_size(self.files.info(path))

    def _fetch(self, group: Sequence[tuple[str, int]]) -> Iterator[bytes | Failure]:
        small = [(path, size) for path, size in group if size <= MAX_FILE_BYTES]
        # Whole files where they are known to be small: some stores refuse a range of an empty one.
        starts = [None if size >= 0 else 0 for _, size in small]
        ends = [None if size >= 0 else MAX_FILE_BYTES + 1 for _, size in small]
        paths = [path for path, _ in small]
        with self._explained(paths[0] if paths else ""):
            # Not `cat`, which would take a name with brackets for a pattern.
            fetched = iter(self.files.cat_ranges(paths, starts, ends, on_error="return") if paths else [])
        for _, size in group:
            yield _judge(next(fetched)) if size <= MAX_FILE_BYTES else refuse_size(size)

    @contextlib.contextmanager
    def _explained(self, path: str) -> Iterator[None]:
        with _explained(self.name(path)):
            yield


def locate(where: str) -> tuple[Store, str]:
    """Return where a path or a URL leads, and the path there; nothing is asked yet.

    Raises:
        MissingExtra: fsspec, or what it needs for this protocol, is not installed.
        InvalidArgument: there is no such protocol.
    """
    here = next((scheme for scheme in _HERE if where.startswith(scheme)), "")
    if here or "://" not in where:
        # Whole, as a span may be read from another folder.
        return Local(), str(Path(where.removeprefix(here)).absolute())
    try:
        import fsspec  # noqa: PLC0415  only who names a URL needs it
    except ModuleNotFoundError as error:
        raise MissingExtra("batch", "fsspec") from error
    protocol = where.partition("://")[0]
    try:
        with _explained(hide_credentials(where), (ImportError, ValueError)):
            files, path = fsspec.core.url_to_fs(where)
    except ImportError as error:
        raise MissingFilesystem(protocol, str(error)) from error
    except ValueError as error:
        known = "a URL that fsspec knows, such as s3://bucket/folder"
        raise InvalidArgument(f"{hide_credentials(where)}: expected {known}; received {protocol}://") from error
    return Remote(files), path


@contextlib.contextmanager
def _explained(name: str, passed: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Turn what packages raise into OSErrors that hold no secret; the error they come from might."""
    try:
        yield
    except StrataError:
        raise
    except Exception as error:
        if isinstance(error, passed):
            raise
        known = {FileNotFoundError: errno.ENOENT, PermissionError: errno.EACCES}
        guess = next((number for kind, number in known.items() if isinstance(error, kind)), None)
        number = error.errno if isinstance(error, OSError) and error.errno else guess
        reason = os.strerror(number) if number else f"it cannot be reached: {type(error).__name__}"
        raise OSError(number or errno.EIO, reason, name) from None


def _group(files: Sequence[tuple[str, int]]) -> Iterator[list[tuple[str, int]]]:
    group: list[tuple[str, int]] = []
    held = 0
    for path, size in files:
        expected = _GUESS if size < 0 else min(size, MAX_FILE_BYTES)
        if group and (len(group) == _FETCHED_AT_ONCE or held + expected > _BYTES_AT_ONCE):
            yield group
            group, held = [], 0
        group.append((path, size))
        held += expected
    if group:
        yield group


def _judge(fetched: bytes | Exception) -> bytes | Failure:
    if isinstance(fetched, Exception):
        return fail(fetched)
    return fetched if len(fetched) <= MAX_FILE_BYTES else refuse_size(len(fetched))


def _read_size(about: dict[str, Any]) -> int:
    size = about.get("size")
    return -1 if size is None else int(size)
