"""The small files in a model's folder, read without leaving it."""

import os
import re
import stat
from pathlib import Path

from strata_server.errors import ArtifactError, quote

LARGEST_BYTES = 2**18
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


def read_text(folder: Path, name: str) -> str | None:
    """Return the text of a file in a folder; None where there is none.

    Raises:
        ArtifactError: it is a link or no regular file, too large, cannot be read, or no UTF-8.
    """
    data = _read(folder, name)
    try:
        return None if data is None else data.decode()
    except UnicodeDecodeError as error:
        raise ArtifactError(f"{name}: expected UTF-8, received other bytes from byte {error.start} on") from error


def read_classes(folder: Path, name: str, field: str) -> tuple[str, ...]:
    """Return the classes in a label file, one on each line.

    Args:
        folder: the model's.
        name: a bare file name, from a file that someone else wrote.
        field: where that name stands, for messages.

    Raises:
        ArtifactError: the name is no bare one, there is no such file, or a line has no class on it; and as
            `read_text`.
    """
    if not _FILE_NAME.fullmatch(name):
        raise ArtifactError(f"{field}: expected the bare name of a file beside it, received {quote(name)}")
    text = read_text(folder, name)
    if text is None:
        raise ArtifactError(f"{field}: expected a file {quote(name)} in the model's folder, found none")
    classes = tuple(line.strip() for line in text.removesuffix("\n").split("\n"))
    if not all(classes):
        line = classes.index("") + 1
        raise ArtifactError(f"{field}: expected a class on each line of {quote(name)}, received none on line {line}")
    return classes


def _read(folder: Path, name: str) -> bytes | None:
    try:
        # A link may lead anywhere, and opening a pipe would wait for a writer.
        descriptor = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ArtifactError(f"{name}: expected a regular file and no link; {error.strerror}") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ArtifactError(f"{name}: expected a regular file")
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise ArtifactError(f"{name}: it cannot be read: {error.strerror}") from error
    finally:
        os.close(descriptor)
    if len(data) > LARGEST_BYTES:
        raise ArtifactError(f"{name}: expected at most {LARGEST_BYTES} bytes, received more")
    return data
