"""Slices on disk, as onnxruntime has optimized them for this machine."""

import hashlib
import json
import logging
import os
import platform
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import onnxruntime
import xxhash

from strata_server.slicing import Slice

GRAPH = "slice.onnx"
WEIGHTS = "slice.weights"
_SEAL = "seal.json"
# Raised when the way a slice is cut changes: what older releases left is then never read.
_FORMAT = 2
_CHUNK_BYTES = 2**22

log = logging.getLogger(__name__)


class SliceCache:
    """A folder with an optimized graph and its weights for each slice that was ever made.

    onnxruntime maps the weights into memory, so a slice is ready in milliseconds, and all processes on the machine
    share its pages. Each entry has a seal with the checksums of its files: one that is stale, damaged or half
    written is never used.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """Take a folder, which is made if it is not there.

        Raises:
            OSError: it cannot be made, or is not this user's alone: what lies there is trusted as code is.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise PermissionError(0, "expected a folder that only this user can write to", str(folder))
        self._folder = folder
        self._max_bytes = max_bytes

    def fetch(self, digest: str, wanted: Slice) -> Path | None:
        """Return the graph of a slice, or None if it is not there as it was left.

        Args:
            digest: of the artifact that it is cut from.
            wanted: the slice.
        """
        entry = self._place(digest, wanted)
        try:
            seal = json.loads((entry / _SEAL).read_bytes())
            if seal != _checksums(entry):
                raise ValueError("the checksums differ")
            os.utime(entry)  # used now: others make room first
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            log.warning("the slice cache ignores a damaged entry: %s", error)
            return None
        return entry / GRAPH

    def store(self, digest: str, wanted: Slice, write: Callable[[Path], None]) -> None:
        """Keep what `write` leaves in the folder it is given; a cache that cannot be written to is none."""
        entry = self._place(digest, wanted)
        try:
            with tempfile.TemporaryDirectory(prefix=".", dir=self._folder, ignore_cleanup_errors=True) as name:
                draft = Path(name) / "entry"
                draft.mkdir()
                write(draft)
                (draft / _SEAL).write_text(json.dumps(_checksums(draft)))
                shutil.rmtree(entry, ignore_errors=True)
                draft.rename(entry)
            self._make_room()
        except OSError as error:
            log.warning("the slice cache cannot keep a slice: %s", error.strerror)

    def _place(self, digest: str, wanted: Slice) -> Path:
        key = json.dumps([_FORMAT, _machine(), digest, sorted(wanted.entries), sorted(wanted.exits)])
        return self._folder / hashlib.sha256(key.encode()).hexdigest()

    def _make_room(self) -> None:
        """Remove the entries that were not used for the longest time, until the rest fits."""
        entries = [entry for entry in self._folder.iterdir() if not entry.name.startswith(".")]
        sizes = {entry: sum(file.stat().st_size for file in entry.iterdir()) for entry in entries}
        total = sum(sizes.values())
        for entry in sorted(entries, key=lambda entry: entry.stat().st_mtime):
            if total <= self._max_bytes:
                break
            # A session that has it mapped keeps its pages: the files go with the last of them.
            shutil.rmtree(entry, ignore_errors=True)
            total -= sizes[entry]


def _checksums(entry: Path) -> dict[str, str]:
    """Return a checksum of each file but the seal: against damage, not against an enemy."""
    return {file.name: _checksum(file) for file in sorted(entry.iterdir()) if file.name != _SEAL}


def _checksum(file: Path) -> str:
    digest = xxhash.xxh3_128()
    with file.open("rb", buffering=0) as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _machine() -> list[str]:
    """Return what an optimized graph depends on: onnxruntime's version, and what the processor can do."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    # The first processor speaks for all.
    told = {key.strip(): value for key, _, value in (line.partition(":") for line in reversed(lines))}
    abilities = [told.get(key, "") for key in ("vendor_id", "model name", "flags", "Features", "CPU part")]
    return [onnxruntime.__version__, platform.system(), platform.machine(), platform.processor(), *abilities]
