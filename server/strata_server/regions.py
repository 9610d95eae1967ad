"""Shared memory of this machine that clients have named: inputs are read from it, outputs are written into it.

A client may cut its memory short, or write to it, at any moment. Mapped into this process, such memory would end it
with SIGBUS, and values could change between their check and their use. So nothing is ever mapped: what is read is
copied by one system call into bytes of our own, what is written is written by one.
"""

import os
import re
import stat
import weakref
from pathlib import Path
from typing import cast

from strata_server.control import Json, Subject, Values
from strata_server.errors import AlreadyExists, InvalidArgument, NotFound, OverLimit, quote

MOST_REGIONS = 256
"""Registered at a time; each holds a file open."""
LARGEST_REGION = 16 * 2**30
"""In bytes."""
SUBJECT = "shared_memory"
"""Of the changes that register and unregister."""

_FOLDER = Path("/dev/shm")  # noqa: S108 - where shm_open has its files
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_REST = re.compile(r"[A-Za-z0-9._-]{0,128}")


class Region:
    """A part of a client's shared memory; its file is closed when nobody uses it any more."""

    def __init__(self, file: int, key: str, offset: int, byte_size: int) -> None:
        """Take an open file over.

        Args:
            file: its descriptor.
            key: how the operating system names it.
            offset: where the region begins in it, in bytes.
            byte_size: of the region.
        """
        self.key = key
        self.offset = offset
        self.byte_size = byte_size
        self._file = file
        # A request that is under way when the region is unregistered still holds it, and ends as it would have.
        weakref.finalize(self, os.close, file)

    @property
    def identity(self) -> str:
        """Which memory it is, whatever has its key later."""
        status = os.fstat(self._file)
        return f"{status.st_dev}:{status.st_ino}"

    def check_range(self, offset: int, byte_size: int) -> None:
        """Check that a part lies in the region, and the region in its memory, as large as that is now.

        Raises:
            InvalidArgument: it does not.
        """
        if offset < 0 or byte_size < 0 or offset + byte_size > self.byte_size:
            raise InvalidArgument(
                f"shared memory: expected a part of the region's {self.byte_size} bytes, "
                f"received {byte_size} bytes from {offset}"
            )
        if self.offset + offset + byte_size > os.fstat(self._file).st_size:
            raise _cut_short()

    def read(self, offset: int, byte_size: int) -> bytes:
        """Return a copy of a part.

        Raises:
            InvalidArgument: it is not there.
        """
        self.check_range(offset, byte_size)
        parts, done = [], 0
        while done < byte_size:  # one call gives at most 2 GiB
            part = os.pread(self._file, byte_size - done, self.offset + offset + done)
            if not part:
                raise _cut_short()
            parts.append(part)
            done += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def write(self, offset: int, data: bytes) -> None:
        """Write a part.

        Raises:
            InvalidArgument: it is not there.
        """
        # The check comes right before the write: one beyond the end would make the client's file larger, and take
        # memory of this machine that nobody has asked for. A client that cuts it short between the two lines gets
        # back at most what it had registered.
        self.check_range(offset, len(data))
        view, done = memoryview(data), 0
        while done < len(view):
            try:
                done += os.pwrite(self._file, view[done:], self.offset + offset + done)
            except OSError as error:  # the machine has no memory left for pages that were never touched
                raise InvalidArgument("shared memory: expected room for the output, found none left") from error


class Regions(Subject):
    """The regions of this process, by name; a subject of changes."""

    def __init__(self, prefix: str, max_bytes: int) -> None:
        """Begin without any.

        Args:
            prefix: what the keys of shared memory begin with that may be registered.
            max_bytes: the largest input or output.
        """
        self._prefix = prefix
        self._max_bytes = max_bytes
        self._regions: dict[str, Region] = {}
        self._opened: dict[str, Region] = {}
        self.lost: list[str] = []
        """Names of regions that could not be opened when this process started."""

    @property
    def all(self) -> dict[str, Region]:
        """All of them as they are now."""
        return dict(self._regions)

    def find(self, name: str) -> Region:
        """Return a region.

        Raises:
            NotFound: none has that name; the names of others are not told.
        """
        region = self._regions.get(name)
        if region is None:
            raise NotFound(f"shared memory: no region is registered as {quote(name)}")
        return region

    def check_size(self, byte_size: int) -> None:
        """Refuse to read or write more than a message could hold.

        Raises:
            OverLimit: with both numbers.
        """
        if byte_size > self._max_bytes:
            raise OverLimit(f"shared memory: expected at most {self._max_bytes} bytes, received {byte_size}")

    def prepare(self, values: Values) -> None:
        """Open what is to be registered.

        Args:
            values: by name a key, an offset, a byte_size, and which memory `identify` has found under the key; None
                to unregister.
        """
        self._opened = {}
        added = {name: value for name, value in values.items() if value is not None}
        if len(set(self._regions) - set(values)) + len(added) > MOST_REGIONS:
            raise OverLimit(f"shared memory: expected at most {MOST_REGIONS} regions; unregister one first")
        try:
            for name, value in added.items():
                if name in self._regions:
                    raise AlreadyExists(f"shared memory: a region is registered as {quote(name)}")
                if not _NAME.fullmatch(name):
                    raise InvalidArgument(
                        f"shared memory: expected a region's name of letters, digits and ._-, received {quote(name)}"
                    )
                told = cast("dict[str, str | int]", value)
                region = self._open(str(told["key"]), int(told["offset"]), int(told["byte_size"]))
                if region.identity != told["memory"]:  # another one has the key by now
                    raise _unfit()
                self._opened[name] = region
        except Exception:
            self._opened = {}
            raise

    def restore(self, key: str, value: Json) -> None:
        """Open a region that the other processes have; `lost` has those whose memory nobody can open any more."""
        super().restore(key, value)
        if key not in self._regions:
            self.lost.append(key)

    def identify(self, key: str, offset: int, byte_size: int) -> str:
        """Return which memory a key stands for now; a key may stand for another one later.

        Raises:
            InvalidArgument: it is none that can be registered.
        """
        return self._open(key, offset, byte_size).identity

    def commit(self, values: Values) -> None:
        """Let requests find what was opened, and what is unregistered no more."""
        kept = {name: region for name, region in self._regions.items() if name not in values}
        self._regions = {**kept, **self._opened}
        self._opened = {}

    def abandon(self, values: Values) -> None:  # noqa: ARG002 - the signature of a subject
        """Close what was opened."""
        self._opened = {}

    def _open(self, key: str, offset: int, byte_size: int) -> Region:
        if not 0 < byte_size <= LARGEST_REGION or not 0 <= offset <= LARGEST_REGION:
            raise InvalidArgument(
                f"shared memory: expected 1 to {LARGEST_REGION} bytes from 0 to {LARGEST_REGION}, "
                f"received {byte_size} from {offset}"
            )
        name = key.removeprefix("/")
        if not name.startswith(self._prefix) or not _REST.fullmatch(name.removeprefix(self._prefix)):
            raise InvalidArgument(
                f"shared memory: expected a key that begins with {quote('/' + self._prefix)}, of letters, digits and "
                f"._-; received {quote(key)}"
            )
        region = Region(_open_beneath(name), key, offset, byte_size)
        region.check_range(0, byte_size)
        return region


def _open_beneath(name: str) -> int:
    """Return an open file of shared memory: one of this user's, that no link leads to."""
    try:
        folder = os.open(_FOLDER, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidArgument("shared memory: this machine has none") from error
    try:
        # Without O_NONBLOCK a pipe of that name would hold the thread up.
        file = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=folder)
    except OSError as error:
        raise _unfit() from error
    finally:
        os.close(folder)
    status = os.fstat(file)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1 or status.st_uid != os.geteuid():
        os.close(file)
        raise _unfit()
    return file


def _unfit() -> InvalidArgument:
    # One text for all reasons: what else lies there is nobody's business.
    return InvalidArgument(
        "shared memory: expected the key of memory that exists, belongs to the server's user and is reached by no link"
    )


def _cut_short() -> InvalidArgument:
    return InvalidArgument("shared memory: expected memory as large as its region, found less")
