"""Where the files of a source lie: on this machine, or where fsspec reaches."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from strata_client._shared import MAX_MESSAGE_BYTES
from strata_client.batch.rows import Failure
from strata_client.batch.sources.patterns import Wanted
from strata_client.errors import InvalidArgument

MAX_FILE_BYTES = MAX_MESSAGE_BYTES
"""The largest picture: more does not fit into a request."""

_DEEPEST = 200  # folders in each other, each of which is held open while it is listed
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe must not be waited for


class Store(Protocol):
    """Files by their paths. It can be pickled."""

    def name(self, path: str) -> str:
        """Return a path as people may see it."""
        ...

    def is_folder(self, path: str) -> bool:
        """Say whether there is a folder."""
        ...

    def is_file(self, path: str) -> bool:
        """Say whether there is a file."""
        ...

    def find(self, folder: str, wanted: Wanted) -> Iterator[tuple[str, int]]:
        """List the files that are wanted: their paths beneath the folder and their sizes, in no order.

        A size is -1 where it is not known, such as that of a link to nowhere.

        Raises:
            OSError: the folder, or one in it, cannot be read.
        """
        ...

    def read(self, files: Sequence[tuple[str, int]]) -> Iterator[bytes | Failure]:
        """Read whole files, by their paths and what is known of their sizes (-1: nothing), in their order."""
        ...

    def open(self, path: str) -> BinaryIO:
        """Open a file to read, with `seek`.

        Raises:
            OSError: it cannot be opened.
        """
        ...

    def size(self, path: str) -> int:
        """Return the size of a file in bytes."""
        ...


@dataclass(frozen=True)
class Local:
    """The files of this machine."""

    def name(self, path: str) -> str:
        """Return the path."""
        return path

    def is_folder(self, path: str) -> bool:
        """Say whether there is a folder, or a link to one."""
        return Path(path).is_dir()

    def is_file(self, path: str) -> bool:
        """Say whether there is something else than a folder."""
        return Path(path).exists() and not Path(path).is_dir()

    def find(self, folder: str, wanted: Wanted) -> Iterator[tuple[str, int]]:
        """List files; links to files are followed, links to folders are not."""
        return _walk(folder, "", wanted, 0)

    def read(self, files: Sequence[tuple[str, int]]) -> Iterator[bytes | Failure]:
        """Read files one after another."""
        for path, _ in files:
            yield read_file(path)

    def open(self, path: str) -> BinaryIO:
        """Open a file."""
        return Path(path).open("rb")

    def size(self, path: str) -> int:
        """Ask the file system."""
        return Path(path).stat().st_size


def read_file(path: str) -> bytes | Failure:
    """Return what a file of this machine holds, or why it cannot be read."""
    try:
        file = os.open(path, _FLAGS)
    except (OSError, ValueError) as error:
        return fail(error)
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            return Failure("INVALID_ARGUMENT", "expected a file; received a folder, a device or a pipe")
        return _drain(file, found.st_size)
    except OSError as error:
        return fail(error)
    finally:
        os.close(file)


def fail(error: Exception) -> Failure:
    """Return what an error says about a row; its own text may hold paths, URLs and what is secret in them."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return Failure("NOT_FOUND", "no such file")
    if isinstance(error, PermissionError):
        return Failure("PERMISSION_DENIED", "this file may not be read")
    number = error.errno if isinstance(error, OSError) else None
    return Failure("UNKNOWN", os.strerror(number) if number else type(error).__name__)


def refuse_size(size: int) -> Failure:
    """Return what is said of a file that is too large."""
    return Failure("RESOURCE_EXHAUSTED", f"expected at most {MAX_FILE_BYTES:,} bytes; received {size:,} or more")


def check_size(store: Store, path: str, size: int) -> None:
    """See to it that a file is still the one that was listed, as far as its size tells.

    Raises:
        InvalidArgument: it is not.
        OSError: it is gone.
    """
    found = store.size(path)
    if found != size:
        raise InvalidArgument(
            f"{store.name(path)}: expected the file that was listed, of {size:,} bytes; received {found:,}"
        )


def _drain(file: int, size: int) -> bytes | Failure:
    if size > MAX_FILE_BYTES:
        return refuse_size(size)
    data = os.read(file, size + 1)
    if len(data) == size:
        return data
    # It grows, lies about its size, or comes from far in pieces.
    parts = [data]
    while parts[-1] and len(data) <= MAX_FILE_BYTES:
        parts.append(os.read(file, MAX_FILE_BYTES + 1 - len(data)))
        data = b"".join(parts)
    return data if len(data) <= MAX_FILE_BYTES else refuse_size(len(data))


def _walk(folder: str, prefix: str, wanted: Wanted, depth: int) -> Iterator[tuple[str, int]]:
    if depth > _DEEPEST:
        raise InvalidArgument(f"{folder}: expected at most {_DEEPEST} folders in each other")
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                if wanted.enters(name, depth):
                    yield from _walk(entry.path, f"{prefix}{name}/", wanted, depth + 1)
            elif _leads_to_folder(entry):
                wanted.leave_link()
            elif wanted.takes(prefix + name) and (size := _measure(entry)) is not None:
                yield prefix + name, size


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_symlink() and entry.is_dir()
    except OSError:  # it leads round in a circle
        return False


def _measure(entry: os.DirEntry[str]) -> int | None:
    """Return the size of a file, -1 where only reading it will tell; None for what is no file."""
    try:
        found = entry.stat()
    except OSError:
        return -1
    return found.st_size if stat.S_ISREG(found.st_mode) else None
