"""A .npz file: arrays of inputs and labels."""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from strata_training.data.classes import listed, require_distinct
from strata_training.data.dataset import Array, DataSet
from strata_training.data.memory import require_memory
from strata_training.errors import TrainingError, Unreadable, unknown

_WHOLE = (("x", "y"), ("images", "labels"))
_PARTS = ("x_train", "y_train", "x_test", "y_test")
_CLASSES = "classes"

_Arrays = dict[str, npt.NDArray[Any]]
_Labels = npt.NDArray[np.int64]


def load_archive(path: Path) -> DataSet:
    """Return what a .npz file holds: inputs and labels, and the names of the classes if they are there.

    Its keys are x and y, images and labels, or x_train, y_train, x_test and y_test, where the last two are the part
    that is held out; and `classes`, the names that integer labels are places in. Inputs are uint8 pictures (rows,
    height, width) or (rows, height, width, channels), or floating-point (rows, features). Labels are integers, or
    text. Without `classes` the labels that occur are the classes, sorted. Nothing is unpickled.

    Raises:
        Unreadable: it is no such file; the message says why.
        NotFound: a label that is not among the classes.
        TrainingError: a class is named twice, or the file needs more memory than there is for it.
    """
    arrays = _read_arrays(path)
    names = _check_names(arrays[_CLASSES]) if _CLASSES in arrays else None
    for x, y in _WHOLE:
        if {x, y} <= arrays.keys():
            inputs = _check_inputs(x, arrays[x])
            labels, classes = _place(_check_labels(y, arrays[y], x, inputs), names)
            return DataSet(path.name, inputs, labels, classes)
    return _join(path.name, arrays, names)


def _join(name: str, arrays: _Arrays, names: Sequence[str] | None) -> DataSet:
    """Return the two parts of a data set as one, of which the second is held out."""
    learned, held_out = (_check_inputs(key, arrays[key]) for key in ("x_train", "x_test"))
    if (learned.shape[1:], learned.dtype) != (held_out.shape[1:], held_out.dtype):
        raise Unreadable(f"expected x_test to be as x_train, {_form(learned)}, received {_form(held_out)}")
    learned_labels = _check_labels("y_train", arrays["y_train"], "x_train", learned)
    held_out_labels = _check_labels("y_test", arrays["y_test"], "x_test", held_out)
    if (learned_labels.dtype.kind == "U") != (held_out_labels.dtype.kind == "U"):
        raise Unreadable("expected text in both y_train and y_test or in neither, received it in one of them")
    labels, classes = _place(np.concatenate([learned_labels, held_out_labels]), names)
    inputs = np.concatenate([learned, held_out])
    return DataSet(name, inputs, labels, classes, held_out=np.arange(len(learned), len(labels)))


def _read_arrays(path: Path) -> _Arrays:
    """Return the arrays that are known by their keys."""
    try:
        with zipfile.ZipFile(path) as members:
            require_memory(sum(member.file_size for member in members.infolist()), f"the arrays of {path.name!r}")
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in _find_keys(path.name, file.files)}
    except (TrainingError, FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # zipfile, zlib and numpy each raise their own on damaged bytes
        if "allow_pickle" in str(error):
            reason = "it holds Python objects, which are never unpickled: save numbers or text"
        else:
            reason = f"it is damaged or of another kind ({' '.join(str(error).split())})"
        raise Unreadable(f"expected {path.name!r} to be a .npz file of arrays: {reason}") from error
    for key, values in arrays.items():
        if not isinstance(values, np.ndarray):  # numpy hands over the bytes of a member that is none
            raise Unreadable(f"expected {path.name!r} to be a .npz file of arrays: {key} is none")
    return arrays


def _find_keys(name: str, keys: Sequence[str]) -> list[str]:
    for wanted in (*_WHOLE, _PARTS):
        if set(wanted) <= set(keys):
            return [*wanted, *({_CLASSES} & set(keys))]
    raise Unreadable(
        f"expected the arrays x and y, images and labels, or {', '.join(_PARTS)} in {name!r}, "
        f"received {listed(sorted(keys)) or 'none'}"
    )


def _check_names(names: npt.NDArray[Any]) -> list[str]:
    if names.dtype.kind != "U" or names.ndim != 1:
        raise Unreadable(f"expected {_CLASSES} to be one name after another, as text, received {_form(names)}")
    classes: list[str] = names.tolist()
    require_distinct(classes)
    return classes


def _check_inputs(key: str, values: npt.NDArray[Any]) -> Array:
    """Return pictures with an axis for their channels, or float32 points."""
    if not values.size:
        raise Unreadable(f"expected examples in {key}, received none: {values.dtype}{list(values.shape)}")
    if values.dtype == np.uint8 and values.ndim in (3, 4):
        pictures = values.reshape(*values.shape[:3], -1)
        if pictures.shape[-1] > 4:
            raise Unreadable(f"expected 1 to 4 channels in {key}, on its last axis, received {_form(values)}")
        return pictures
    if values.dtype.kind == "f" and values.ndim == 2:
        with np.errstate(over="ignore"):  # what becomes infinite is told next
            points = values.astype(np.float32)
        if not np.isfinite(points).all():
            row = int(np.flatnonzero(~np.isfinite(points).all(axis=1))[0])
            raise Unreadable(f"expected numbers that float32 can hold in {key}, received {values[row]} in row {row}")
        return points
    hint = "; pictures are 0 to 255 here, and scaled as they enter the network" if values.ndim in (3, 4) else ""
    raise Unreadable(
        f"expected {key} to be uint8 pictures (rows, height, width) or (rows, height, width, channels), or "
        f"floating-point (rows, features), received {_form(values)}{hint}"
    )


def _check_labels(key: str, labels: npt.NDArray[Any], x: str, inputs: Array) -> npt.NDArray[Any]:
    """Return labels as (rows,), text or integers, one for each input."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]  # as Keras has those of CIFAR
    if labels.dtype.kind not in "iubU" or labels.ndim != 1:
        raise Unreadable(f"expected {key} to be one integer or text for each row, received {_form(labels)}")
    if len(labels) != len(inputs):
        raise Unreadable(f"expected as many labels as inputs, received {len(inputs)} in {x} and {len(labels)} in {key}")
    return labels


def _place(labels: npt.NDArray[Any], names: Sequence[str] | None) -> tuple[_Labels, tuple[str, ...]]:
    """Return the place of each label among the classes, and these."""
    if labels.dtype.kind == "U":
        return _place_text(labels, names)
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or (names is not None and highest >= len(names)):
        bound = f"0 to {len(names) - 1}, for {len(names)} classes" if names is not None else "0 or more"
        raise Unreadable(f"expected labels of {bound}, received {lowest} to {highest}")
    if names is not None:
        return labels.astype(np.int64), tuple(names)
    found, places = np.unique(labels, return_inverse=True)
    return places.astype(np.int64), tuple(map(str, found.tolist()))


def _place_text(labels: npt.NDArray[Any], names: Sequence[str] | None) -> tuple[_Labels, tuple[str, ...]]:
    found, places = np.unique(labels, return_inverse=True)
    if names is None:
        return places.astype(np.int64), tuple(found.tolist())
    for label in found.tolist():
        if label not in names:
            raise unknown("class", label, names)
    return np.array([names.index(label) for label in found.tolist()], np.int64)[places], tuple(names)


def _form(values: npt.NDArray[Any]) -> str:
    return f"{values.dtype} {values.shape}"
