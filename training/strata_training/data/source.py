"""A source of data: a name, or a path."""

from dataclasses import replace
from pathlib import Path

from strata_training.data.archive import load_archive
from strata_training.data.bundled import BUNDLED
from strata_training.data.classes import require_divisible, select
from strata_training.data.dataset import DataSet
from strata_training.data.downloads import DOWNLOADS, load_download
from strata_training.data.folder import load_folder
from strata_training.data.form import COLORS, bring
from strata_training.data.wanted import Wanted
from strata_training.errors import NotFound, TrainingError, Unreadable, unknown

NAMES: tuple[str, ...] = (*BUNDLED, *DOWNLOADS)
"""The sources that have a name; any other is a path."""

_AS_THEY_ARE = Wanted()


def load(source: str, wanted: Wanted = _AS_THEY_ARE) -> DataSet:
    """Return a data set in the wanted form; it can be split.

    Args:
        source: one of NAMES, or the path of a folder with a folder of pictures per class, or of a .npz file.
        wanted: which classes, and in which form.

    Raises:
        NotFound: there is no such source, class or color.
        Unreadable: files that are not what they should be.
        TrainingError: what is there cannot be learned from: too few classes, too few examples of one, pictures of
            several sizes, more than memory can hold, or a download that failed.
    """
    _check(wanted)
    if source in BUNDLED:
        dataset = _shape(BUNDLED[source](), wanted)
    elif source in DOWNLOADS:
        dataset = _shape(load_download(source), wanted)
    else:
        dataset = _load_path(source, wanted)
    require_divisible(dataset)
    return dataset


def _load_path(source: str, wanted: Wanted) -> DataSet:
    path = Path(source)
    # Of '.' and '..' the name is found by going there.
    name = path.name if path.name not in ("", "..") else path.resolve().name
    try:
        if not source:  # to pathlib that is the folder one is in
            raise _missing(source)
        if path.is_dir():
            return load_folder(path, name, wanted)
        if not path.exists():
            raise _missing(source)
        if path.suffix.lower() != ".npz":
            raise Unreadable(f"expected a folder with a folder per class, or a .npz file, received the file {source!r}")
        return _shape(load_archive(path), wanted)
    except OSError as error:
        raise Unreadable(f"{source!r} cannot be read: {error.strerror}") from error


def _missing(source: str) -> NotFound:
    path = Path(source)
    if path.suffix or len(path.parts) > 1 or source.endswith("/"):
        return NotFound(f"there is no folder and no .npz file {source!r}")
    return NotFound(f"{unknown('data set', source, NAMES)}; or give the path of a folder or of a .npz file")


def _shape(dataset: DataSet, wanted: Wanted) -> DataSet:
    """Return the wanted classes of whole arrays, in the wanted form."""
    dataset = select(dataset, wanted.classes)
    if dataset.is_pictures:
        return replace(dataset, inputs=bring(dataset.inputs, wanted))
    if wanted.image_size or wanted.color:
        raise TrainingError(f"{dataset.name!r} has points, not pictures: they have no size and no color to choose")
    return dataset


def _check(wanted: Wanted) -> None:
    if wanted.color is not None and wanted.color not in COLORS:
        raise unknown("color", wanted.color, COLORS)
    if wanted.image_size is not None and min(wanted.image_size) < 1:
        raise TrainingError(f"expected a height and a width of 1 or more, received {wanted.image_size}")
