"""A folder of pictures: one folder per class, whose name is the class's."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from strata_training.data.classes import THREE_PARTS, choose, listed, require_rows
from strata_training.data.dataset import DataSet
from strata_training.data.form import Form, Pixels
from strata_training.data.picture_file import BadPicture, Header, quiet, read_header, read_pixels
from strata_training.data.wanted import Wanted
from strata_training.errors import TrainingError, Unreadable

_LISTED = 5


@dataclass(frozen=True)
class _File:
    """A file of a class."""

    path: Path
    name: str
    """Its path within the folder, as it is shown."""
    label: int


_Reasons = Mapping[_File, str]
"""Why files cannot be read."""


def load_folder(folder: Path, name: str, wanted: Wanted) -> DataSet:
    """Return the pictures below a folder of folders, by class and then by path.

    Hidden files and folders are ignored, and so are files beside the class folders. Links are followed. The
    orientation that a camera notes in EXIF is not applied, as the server does not apply it either.

    Raises:
        NotFound: a wanted class is not there.
        Unreadable: files that are no pictures; or no folder of classes.
        TrainingError: a class that is empty or has too few pictures, pictures of several sizes, or more of them than
            memory can hold.
    """
    classes = choose(_class_names(folder, name), wanted.classes)
    files = _list_files(folder, classes)
    _require_pictures(classes, files)
    with quiet():
        headers, bad = _read_headers(files, wanted)
        if bad and not wanted.skip_bad:
            raise _unreadable(name, _find_bad(files), len(files))
        good = list(headers)
        if bad:
            _require_pictures(classes, good, " that can be read")
        inputs = _read(name, good, _settle(headers, wanted))
    labels = np.array([file.label for file in good], np.int64)
    return DataSet(name, inputs, labels, classes, skipped=tuple(f"{file.name}: {why}" for file, why in bad.items()))


def _class_names(folder: Path, name: str) -> list[str]:
    visible = [path for path in folder.iterdir() if not path.name.startswith(".")]
    lost = sorted(path.name for path in visible if path.is_symlink() and not path.exists())
    if lost:
        raise Unreadable(f"expected links in {name!r} that lead somewhere, received {listed(lost)}")
    names = sorted(path.name for path in visible if path.is_dir())
    if not names:
        raise Unreadable(f"expected a folder per class in {name!r}, received {len(visible)} files and no folder")
    odd = [_shown(each) for each in names if _shown(each) != each]
    if odd:
        raise Unreadable(f"expected names of classes in UTF-8, received {listed(odd)}")
    return names


def _list_files(folder: Path, classes: Sequence[str]) -> list[_File]:
    return [
        _File(path, _shown(path.relative_to(folder).as_posix()), label)
        for label, name in enumerate(classes)
        for path in _walk(folder / name, frozenset())
    ]


def _walk(folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    """Give the visible files below a folder, sorted by name within each folder."""
    real = folder.resolve()
    if real in above:
        return  # a link to a folder that it is in
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _walk(path, above | {real})
        else:
            yield path


def _require_pictures(classes: Sequence[str], files: Sequence[_File], which: str = "") -> None:
    counts = np.bincount([file.label for file in files], minlength=len(classes)).tolist()
    empty = [name for name, count in zip(classes, counts, strict=True) if count == 0]
    if empty:
        raise TrainingError(f"expected pictures{which} in the folder of each class, received none in {listed(empty)}")
    require_rows(classes, counts, 3, THREE_PARTS)


def _read_headers(files: Sequence[_File], wanted: Wanted) -> tuple[dict[_File, Header], _Reasons]:
    """Return what is known of each good picture, and the bad ones.

    Where bad ones are skipped, each is decoded here, since a damaged one must not decide on the size or the color.
    """
    bad = _find_bad(files) if wanted.skip_bad else {}
    good = [file for file in files if file not in bad]
    headers: dict[_File, Header] = {}

    def read(file: _File) -> None:
        headers[file] = read_header(file.path)

    unopened = _try_each(good, read)
    return {file: headers[file] for file in good if file in headers}, {**bad, **unopened}


def _find_bad(files: Sequence[_File]) -> _Reasons:
    """Return the files that cannot be decoded."""

    def decode(file: _File) -> None:
        header = read_header(file.path)
        read_pixels(file.path, Form(header.height, header.width, "COLOR_RGB"))

    return _try_each(files, decode)


def _try_each(files: Sequence[_File], read: Callable[[_File], None]) -> _Reasons:
    """Read files in several threads, and return those that cannot be, in the order of the files."""

    def attempt(file: _File) -> str | None:
        try:
            read(file)
        except BadPicture as bad:
            return str(bad)
        return None

    with ThreadPoolExecutor() as pool:
        return {file: why for file, why in zip(files, pool.map(attempt, files), strict=True) if why is not None}


def _settle(headers: Mapping[_File, Header], wanted: Wanted) -> Form:
    """Return the form of all pictures."""
    color = wanted.color or ("COLOR_RGB" if any(each.has_color for each in headers.values()) else "COLOR_GRAYSCALE")
    if wanted.image_size:
        return Form(*wanted.image_size, color)
    first, header = next(iter(headers.items()))
    for file, other in headers.items():
        if (other.height, other.width) != (header.height, header.width):
            raise TrainingError(
                f"expected pictures of one size, received {first.name!r}, {header.height} pixels high and "
                f"{header.width} wide, and {file.name!r}, {other.height} high and {other.width} wide; "
                "give --image-size to bring all to one"
            )
    return Form(header.height, header.width, color)


def _read(name: str, files: Sequence[_File], form: Form) -> Pixels:
    """Return the pictures; the first that cannot be decoded brings out all of them."""
    try:
        return form.fill(len(files), lambda row: read_pixels(files[row].path, form))
    except BadPicture as bad:
        raise _unreadable(name, _find_bad(files), len(files)) from bad


def _unreadable(name: str, bad: _Reasons, files: int) -> Unreadable:
    some = "; ".join(f"{file.name!r}: {why}" for file, why in list(bad.items())[:_LISTED])
    more = f"; and {len(bad) - _LISTED} more" if len(bad) > _LISTED else ""
    return Unreadable(
        f"expected pictures in {name!r}, received {len(bad)} of {files} files that cannot be read: {some}{more}; "
        "--skip-bad leaves them out"
    )


def _shown(name: str) -> str:
    """Return a name that can be printed, whatever bytes the file system holds."""
    return name.encode("utf-8", "backslashreplace").decode()
