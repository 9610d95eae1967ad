"""Folders that appear whole or not at all."""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from strata_training.errors import Exists


@contextlib.contextmanager
def fresh_folder(target: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a folder to write in; it becomes `target` by one rename when the block ends well.

    When the block fails, nothing is left, the parents that were made for it included. A killed process leaves
    a hidden folder beside `target`, never a half one in its place.

    Raises:
        Exists: `target` is there already, and `overwrite` is not asked for.
    """
    made = [parent for parent in target.parents if not parent.exists()]
    draft = _hidden_sibling(target)
    draft.mkdir(parents=True)
    try:
        yield draft
        _flush(draft)
        if overwrite:
            _replace(draft, target)
        else:
            _rename(draft, target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        for parent in made:
            # One that is not empty holds the result, or is another's by now.
            with contextlib.suppress(OSError):
                parent.rmdir()


def _hidden_sibling(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}")


def _flush(folder: Path) -> None:
    """Bring what was written to the disk, so that a power cut after the rename cannot empty it."""
    for path in [*folder.rglob("*"), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _rename(draft: Path, target: Path) -> None:
    try:
        # Refused by the file system where a folder with something in it is there: no check, no race.
        draft.rename(target)
    except OSError as error:
        if not target.exists():
            raise
        raise Exists(f"{target} exists") from error


def _replace(draft: Path, target: Path) -> None:
    if not target.exists():
        _rename(draft, target)
        return
    old = _hidden_sibling(target)
    target.rename(old)
    draft.rename(target)
    shutil.rmtree(old)
