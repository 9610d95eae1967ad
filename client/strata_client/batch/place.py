"""Where results go: a folder, here or at a URL, in which a file appears whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import unquote, urlsplit

from strata_client import files
from strata_client.errors import InvalidArgument, MissingExtra, ResourceExhausted

_LOCK = "_lock"


class Place:
    """A folder. It can be pickled.

    Args:
        where: a path, or a URL that fsspec knows, such as `s3://bucket/folder`.

    Raises:
        MissingExtra: it is a URL, and fsspec is not installed.
        InvalidArgument: fsspec does not know the URL, or lacks a package for it.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        folder = _find_folder(where)
        self._store: _Store = _Remote(where) if folder is None else _Local(folder)

    def __repr__(self) -> str:
        return f"Place({self.where!r})"

    @property
    def folder(self) -> str | None:
        """The path, where it is a folder of this machine."""
        return str(self._store.root) if isinstance(self._store, _Local) else None

    def name(self, name: str) -> str:
        """Return how a file of it is called from outside, for messages."""
        return f"{self.where.rstrip('/')}/{name}"

    def make(self) -> None:
        """Make the folder, and those above it, where they are missing."""
        self._store.make()

    def list(self, under: str = "") -> list[str]:
        """Return the names of what stands in it, or in a folder beneath it, sorted; nothing where it is missing."""
        return sorted(self._store.list(under))

    def exists(self, name: str) -> bool:
        """Say whether there is a file of that name, which may lie in a folder beneath."""
        return self.size(name) is not None

    def size(self, name: str) -> int | None:
        """Return how many bytes a file has; None where there is none."""
        return self._store.size(name)

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """Open a file to read, with `seek`.

        Raises:
            FileNotFoundError: there is none.
        """
        return self._store.open(name)

    def replacing(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """Give a file to write; it takes the name's place when all is written and safe on the disk, else vanishes.

        Raises:
            OSError: it cannot be written.
        """
        return self._store.replacing(name)

    def publish(self, name: str, where: str) -> None:
        """Move a finished file out of the folder to a path or URL, over what is there.

        Raises:
            OSError: it cannot be moved; here it must stay on the same disk.
        """
        self._store.publish(name, where)

    def settle(self, names: Iterable[str]) -> None:
        """Return when files that somebody else wrote are safe on the disk; at a URL they are already."""
        self._store.settle(names)

    def remove(self, name: str) -> None:
        """Remove a file, or a folder with all that is in it; nothing where it is missing."""
        self._store.remove(name)

    def clean(self) -> None:
        """Remove what `replacing` left under temporary names when it was killed."""
        for name in self.list():
            if files.is_temporary(name):
                self.remove(name)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep others out while the block lasts; a folder of this machine only, a URL knows no locks.

        The kernel lets go of it when the process dies, however it does.

        Raises:
            ResourceExhausted: another process is at work there.
            OSError: there is no folder.
        """
        if self.folder is None:
            yield
            return
        import fcntl  # noqa: PLC0415 - Windows has none, and can do all else

        with (Path(self.folder) / _LOCK).open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                holder = file.read(20).strip() or "of an unknown number"
                raise ResourceExhausted(
                    f"{self.where}: process {holder} is at work there; wait until it ends"
                ) from error
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            yield
            file.truncate(0)


class _Store(Protocol):
    """What a place does, without its name."""

    def make(self) -> None: ...
    def list(self, under: str) -> Iterable[str]: ...
    def size(self, name: str) -> int | None: ...
    def open(self, name: str) -> AbstractContextManager[IO[bytes]]: ...
    def replacing(self, name: str) -> AbstractContextManager[IO[bytes]]: ...
    def publish(self, name: str, where: str) -> None: ...
    def settle(self, names: Iterable[str]) -> None: ...
    def remove(self, name: str) -> None: ...


class _Local:
    """A folder of this machine, which needs no packages."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def make(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)

    def list(self, under: str) -> list[str]:
        try:
            return os.listdir(self.root / under)  # noqa: PTH208 - names, not paths: there may be many
        except FileNotFoundError:
            return []

    def size(self, name: str) -> int | None:
        path = self.root / name
        return path.stat().st_size if path.is_file() else None

    def open(self, name: str) -> IO[bytes]:
        return (self.root / name).open("rb")

    def replacing(self, name: str) -> AbstractContextManager[IO[bytes]]:
        return files.replacing(self.root / name)

    def publish(self, name: str, where: str) -> None:
        target = _find_folder(where) or Path(where)
        (self.root / name).replace(target.resolve())  # a link stays a link
        files.settle(target.resolve().parent)

    def settle(self, names: Iterable[str]) -> None:
        paths = [self.root / name for name in names]
        for path in (*paths, *{path.parent for path in paths}):
            files.settle(path)

    def remove(self, name: str) -> None:
        path = self.root / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


class _Remote:
    """A folder at a URL; one that holds nothing need not be there at all."""

    def __init__(self, where: str) -> None:
        self._files, self._root = _connect(where)

    def make(self) -> None:
        self._files.makedirs(self._root, exist_ok=True)

    def list(self, under: str) -> list[str]:
        try:
            found = self._files.ls(self._path(under), detail=False)
        except FileNotFoundError:
            return []
        return [path.rstrip("/").rpartition("/")[2] for path in found]

    def size(self, name: str) -> int | None:
        try:
            found = self._files.info(self._path(name))
        except FileNotFoundError:
            return None
        return int(found["size"]) if found["type"] == "file" else None

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        opened: AbstractContextManager[IO[bytes]] = self._files.open(self._path(name), "rb")
        return opened

    @contextlib.contextmanager
    def replacing(self, name: str) -> Iterator[IO[bytes]]:
        draft = self._path(files.name_temporary())
        try:
            with self._files.open(draft, "wb") as file:
                yield file
            self._files.mv(draft, self._path(name))
        except BaseException:
            # An object store has no half of a file, but what was written until now.
            if self._files.exists(draft):
                self._files.rm(draft)
            raise

    def publish(self, name: str, where: str) -> None:
        self._files.mv(self._path(name), _connect(where)[1])

    def settle(self, names: Iterable[str]) -> None:
        pass

    def remove(self, name: str) -> None:
        if self._files.exists(self._path(name)):
            self._files.rm(self._path(name), recursive=True)

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}".rstrip("/")


def _find_folder(where: str) -> Path | None:
    """Return the path that a place is on this machine; None where it is elsewhere."""
    if where.startswith("file://"):
        return Path(unquote(urlsplit(where).path))
    return None if "://" in where or "::" in where else Path(where)


def _connect(where: str) -> tuple[Any, str]:
    """Return the filesystem of a URL, and its path there."""
    try:
        import fsspec  # noqa: PLC0415 - folders of this machine do without it
    except ModuleNotFoundError as error:
        raise MissingExtra("batch", "fsspec") from error
    try:
        filesystem, path = fsspec.url_to_fs(where, use_listings_cache=False)  # others write there as well
    except (ImportError, ValueError) as error:  # fsspec says which package such URLs need
        raise InvalidArgument(f"{where}: {error}") from error
    return filesystem, str(path)
