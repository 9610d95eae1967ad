"""The artifacts in a model repository: `NAME/VERSION/model.onnx`."""

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from strata_training.errors import Exists, NotFound, Unreadable
from strata_training.folders import fresh_folder
from strata_training.names import check_name

FILE = "model.onnx"


def choose_version(models: Path, model: str, version: int | None = None) -> Path:
    """Return the folder for a new version: the one that is asked for, or the next one.

    Raises:
        BadName: the model's name cannot be a folder's.
        Unreadable: the model repository is no folder.
        Exists: that version is there; a version never changes.
    """
    check_name("model", model)
    if models.exists() and not models.is_dir():
        raise Unreadable(f"{models}: expected a folder, received a file")
    newest = max(_versions(models / model), default=0)
    folder = models / model / str(version or newest + 1)
    if folder.exists():
        raise _taken(folder, newest)
    return folder


def write_artifact(folder: Path, model: onnx.ModelProto) -> Path:
    """Write an artifact as the version that a folder stands for, whole or not at all.

    Raises:
        Exists: that version has come into being meanwhile.
    """
    try:
        with fresh_folder(folder) as draft:
            # Deterministic, so that the same model gives the same bytes.
            (draft / FILE).write_bytes(model.SerializeToString(deterministic=True))
    except Exists as error:
        raise _taken(folder, max(_versions(folder.parent))) from error
    return folder / FILE


def read_artifact(path: Path) -> onnx.ModelProto:
    """Read an ONNX file.

    Raises:
        NotFound: there is no such file.
        Unreadable: it is not ONNX.
    """
    if not path.is_file():
        raise NotFound(f"no artifact at {path}: expected a file such as models/NAME/VERSION/{FILE}")
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError) as error:
        raise Unreadable(f"{path} is not an ONNX file: {_first_line(error)}") from error
    return model


def _versions(folder: Path) -> list[int]:
    return [int(path.name) for path in folder.glob("[0-9]*") if path.name.isdecimal()]


def _taken(folder: Path, newest: int) -> Exists:
    return Exists(
        f"version {folder.name} of {folder.parent.name!r} exists in {folder}, and a version never changes: "
        f"the next is --version {newest + 1}, which is also what you get without it"
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
