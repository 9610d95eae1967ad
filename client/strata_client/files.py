"""Files that are read within a limit, and written whole or not at all."""

import errno
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from strata_client.errors import ResourceExhausted


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write; it takes the path's place when all is written, and leaves nothing otherwise.

    Raises:
        OSError: the path is something other than a file, or its folder cannot be written to.
    """
    target = path.resolve()  # a link stays a link
    if target.exists() and not target.is_file():
        # Taking the place of a folder fails; taking that of /dev/null does not, and would be worse.
        raise OSError(errno.EEXIST, "is not a regular file", str(path))
    part = target.with_name(f".strata-{secrets.token_hex(8)}.part")
    try:
        with part.open("xb") as file:
            yield file
        part.replace(target)
    except OSError as error:
        # The caller knows nothing of the part, and a full disk names no file at all.
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        part.unlink(missing_ok=True)


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
