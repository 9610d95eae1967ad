"""Files that are read within a limit, and written whole or not at all."""

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from strata_client.errors import ResourceExhausted

_TEMPORARY = re.compile(r"\.strata-[0-9a-f]{16}\.part")


def name_temporary() -> str:
    """Return a name for what is not finished yet, which nothing else has."""
    return f".strata-{secrets.token_hex(8)}.part"


def is_temporary(name: str) -> bool:
    """Say whether it is such a name."""
    return _TEMPORARY.fullmatch(name) is not None


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write; it takes the path's place when all is written and on the disk, else it leaves nothing.

    Raises:
        OSError: the path is something other than a file, or its folder cannot be written to.
    """
    target = path.resolve()  # a link stays a link
    if target.exists() and not target.is_file():
        # Taking the place of a folder fails; taking that of /dev/null does not, and would be worse.
        raise OSError(errno.EEXIST, "is not a regular file", str(path))
    part = target.with_name(name_temporary())
    try:
        with part.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # or the name could outlive a power cut, and what it names could not
        part.replace(target)
        settle(target.parent)
    except OSError as error:
        # The caller knows nothing of the part, and a full disk names no file at all.
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        part.unlink(missing_ok=True)


def settle(path: Path) -> None:
    """Return when a file, or the names in a folder, would outlive a power cut.

    Raises:
        OSError: it cannot be read, or the disk failed.
    """
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folders, and writes their names by itself
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_limited(path: Path, max_bytes: int) -> bytes:
    """Return what a file holds.

    Raises:
        ResourceExhausted: it is larger than `max_bytes`.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(max_bytes + 1)  # not all of it: it may be a disk image, or /dev/zero
    if len(data) > max_bytes:
        raise ResourceExhausted(f"{path} is larger than a message may be: {max_bytes:,} bytes")
    return data
