"""Where results go: a folder, here or at a URL, in which a file appears whole or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import IO


class Place:
    """A folder. It can be pickled.

    Args:
        where: a path, or a URL that fsspec knows, such as `s3://bucket/folder`.
    """

    def __init__(self, where: str) -> None:
        self.where = where

    @property
    def folder(self) -> str | None:
        """The path, where it is a folder of this machine."""
        raise NotImplementedError

    def make(self) -> None:
        """Make the folder, and those above it, where they are missing."""
        raise NotImplementedError

    def list(self, under: str = "") -> list[str]:
        """Return the names of what stands in it, or in a folder beneath it, sorted; nothing where it is missing."""
        raise NotImplementedError

    def exists(self, name: str) -> bool:
        """Say whether there is a file of that name, which may lie in a folder beneath."""
        raise NotImplementedError

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """Open a file to read, with `seek`.

        Raises:
            FileNotFoundError: there is none.
        """
        raise NotImplementedError

    @contextlib.contextmanager
    def replacing(self, name: str) -> Iterator[IO[bytes]]:
        """Give a file to write; it takes the name's place when all is written and safe on the disk, else vanishes.

        Raises:
            OSError: it cannot be written.
        """
        raise NotImplementedError
        yield

    def remove(self, name: str) -> None:
        """Remove a file, or a folder with all that is in it; nothing where it is missing."""
        raise NotImplementedError

    def clean(self) -> None:
        """Remove what `replacing` left under temporary names when it was killed."""
        raise NotImplementedError

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep others out while the block lasts; a folder of this machine only, a URL knows no locks.

        Raises:
            ResourceExhausted: another process is at work there.
        """
        raise NotImplementedError
        yield
