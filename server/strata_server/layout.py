"""What lies in a model repository: `NAME/VERSION/model.onnx`, Triton's layout.

Others write there while it is read: whatever vanishes meanwhile is not there. Links may stay inside the repository
(`stable -> 3`); one that leads out of it, or nowhere, makes what it stands for unusable, with that as the reason.
"""

import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from strata_server.configuration.config_pbtxt import ARTIFACT
from strata_server.configuration.sources import FILES
from strata_server.errors import StartError, quote

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
NUMBER = re.compile(r"[1-9][0-9]{0,17}")

Fingerprint = tuple[tuple[str, int, int, int, int], ...]
"""Of files: name, inode, size in bytes, and when content and anything else of them changed last, in nanoseconds; nobody
can set the latter back."""

_DEEPEST_WEIGHTS = 3  # weights may lie in folders beside their artifact


@dataclass(frozen=True)
class Found:
    """A version that lies in the repository; whether it can be served shows when it is loaded."""

    model: str
    number: int
    path: Path
    """Its artifact."""
    fingerprint: Fingerprint = ()
    """Of the artifact and the files beside it."""
    problem: str = ""
    """Why it cannot be loaded, as far as its folder shows; empty where nothing is wrong with that."""


@dataclass(frozen=True)
class FoundModel:
    """A model that lies in the repository."""

    name: str
    folder: Path
    versions: Mapping[int, Found]
    """By number, rising."""
    fingerprint: Fingerprint = ()
    """Of the files beside its versions: settings and labels."""
    problem: str = ""
    """Why nothing of it can be served; empty where nothing is wrong with its folder."""


@dataclass(frozen=True)
class Listing:
    """All that lies in the repository."""

    models: Mapping[str, FoundModel]
    """By name, in their order."""
    skipped: tuple[str, ...] = ()
    """What looks like a model or a version and has no name of one, each with what was expected."""


class _Unusable(Exception):
    """Something that stands in the repository cannot be served; the message says why."""


def scan(folder: Path) -> Listing:
    """Return what lies in a model repository now.

    Hidden entries are passed over: under such names an export prepares what it then renames.

    Raises:
        StartError: there is no such folder, or it cannot be read.
    """
    try:
        root = folder.resolve(strict=True)
        names = _list(root)
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise StartError(
            f"--models: expected a folder with NAME/VERSION/{ARTIFACT} inside, received {str(folder)!r}: "
            f"{getattr(error, 'strerror', 'its links lead in a circle')}"
        ) from error
    skipped: list[str] = []
    models = [_scan_model(root, name, skipped) for name in names]
    return Listing({model.name: model for model in models if model}, tuple(skipped))


def _scan_model(root: Path, name: str, skipped: list[str]) -> FoundModel | None:
    """Return a model; None for what is none, and for what has no name of one, which is then told."""
    folder = root / name
    if not NAME.fullmatch(name):
        if any(folder.glob(f"*/{ARTIFACT}")):
            skipped.append(
                f"{quote(name)}: expected a model's name of 1 to 128 letters, digits, '.', '_' or '-', "
                "a letter or digit first"
            )
        return None
    try:
        _check_way(root, folder)
        return _list_versions(root, folder, skipped) if folder.is_dir() else None
    except (OSError, _Unusable) as error:
        if not _may_be_folder(folder):
            return None
        return FoundModel(name, folder, {}, problem=_explain(error))


def _list_versions(root: Path, folder: Path, skipped: list[str]) -> FoundModel | None:
    """Return a model; None for a folder with neither a version nor a file that says how versions are served."""
    found = [_scan_version(root, folder, entry, skipped) for entry in _list(folder)]
    versions = {version.number: version for version in found if version}
    fingerprint = _fingerprint(folder)
    if not versions and not {file for file, *_ in fingerprint}.intersection(FILES):
        return None
    return FoundModel(folder.name, folder, dict(sorted(versions.items())), fingerprint)


def _scan_version(root: Path, model: Path, name: str, skipped: list[str]) -> Found | None:
    """Return a version; None for what is none, and for what has no number for a name, which is then told."""
    folder = model / name
    if not NUMBER.fullmatch(name):
        if any(folder.glob(ARTIFACT)):
            skipped.append(f"{quote(model.name)}: {quote(name)}: expected a number, without zeros before it")
        return None
    try:
        _check_way(root, folder)
        if not folder.is_dir():
            return None
        path = _find_artifact(root, folder)
        return Found(model.name, int(name), path, _fingerprint(path.parent, _DEEPEST_WEIGHTS))
    except (OSError, _Unusable) as error:
        if not _may_be_folder(folder):
            return None
        return Found(model.name, int(name), folder / ARTIFACT, problem=_explain(error))


def _may_be_folder(path: Path) -> bool:
    """Say whether something stands there still, and is no file: a folder, or a link that leads nowhere."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return path.is_symlink()
    except OSError:
        return True


def _explain(error: Exception) -> str:
    return f"its folder cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)


def _find_artifact(root: Path, folder: Path) -> Path:
    """Return the artifact of a version: the file, or the file of that name in a folder of that name."""
    for path in (folder / ARTIFACT, folder / ARTIFACT / ARTIFACT):
        _check_way(root, path)
        if path.is_file():
            return path
        if not path.is_dir():
            raise _Unusable(f"expected {path.relative_to(folder)} in it as a regular file, found none")
    raise _Unusable(f"expected {path.relative_to(folder)} in it as a regular file, found a folder")


def _check_way(root: Path, path: Path) -> None:
    """Refuse a link that leads out of the repository, or nowhere; the folder it lies in has been checked before."""
    try:
        if not path.is_symlink() and path.exists():  # resolving takes longer than all else
            return
        target = path.resolve(strict=True)
    except FileNotFoundError as error:
        if path.is_symlink():
            raise _Unusable(f"{path.relative_to(root)} is a link that leads nowhere") from error
        raise _Unusable(f"expected {path.relative_to(root)}, found nothing there") from error
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise _Unusable(f"{path.relative_to(root)} cannot be followed") from error
    if not target.is_relative_to(root):
        raise _Unusable(f"{path.relative_to(root)} is a link out of the model repository")


def _list(folder: Path) -> list[str]:
    """Return the names in a folder, in order, without hidden ones."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith("."))


def _fingerprint(folder: Path, depth: int = 0) -> Fingerprint:
    """Return what tells whether the files in a folder are still the same, and those in folders so deep inside."""
    return tuple(sorted(_print_files(folder, "", depth)))


def _print_files(folder: Path, prefix: str, depth: int) -> Iterator[tuple[str, int, int, int, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            with suppress(OSError):  # vanished, or a link that leads nowhere
                status = entry.stat()
                if stat.S_ISREG(status.st_mode):
                    times = (status.st_mtime_ns, status.st_ctime_ns)
                    yield (prefix + entry.name, status.st_ino, status.st_size, *times)
                elif depth and stat.S_ISDIR(status.st_mode):
                    yield from _print_files(Path(entry.path), f"{prefix}{entry.name}/", depth - 1)
