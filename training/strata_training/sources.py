"""Where a Keras model comes from: a run, or a file."""

import textwrap
import zipfile
from dataclasses import dataclass
from pathlib import Path

import keras

import strata_training.networks.features  # noqa: F401 - a file may hold its layer, which Keras must know by then
from strata_training.errors import NotFound, Unreadable
from strata_training.functional import as_functional, input_names
from strata_training.records import Record
from strata_training.runs import find_run, is_run, is_started

SUFFIX = ".keras"
_LONGEST_REASON = 200


@dataclass(frozen=True, eq=False)
class Source:
    """A Keras model, and how it was trained where that is known."""

    model: keras.Model
    record: Record | None = None

    @property
    def network(self) -> str:
        """The network's name; empty for a model that no run of ours made."""
        return self.record.network if self.record else ""

    @property
    def input_name(self) -> str:
        """The name of the first input."""
        functional = as_functional(self.model)
        return input_names(functional)[0] if functional is not None else ""


def is_source(text: str) -> bool:
    """Say whether a text stands for a run or a file, and not for a network's name."""
    return text.endswith(SUFFIX) or is_started(text) or Path(text).is_file()


def open_source(text: str) -> Source:
    """Return the Keras model that a run's name or a .keras file's path stands for.

    Raises:
        NotFound: there is no such run or file.
        Unreadable: the file is not a Keras model, or needs code that it does not bring.
    """
    if text.endswith(SUFFIX) and not is_run(text):
        return Source(_load(Path(text)))
    if not is_run(text) and Path(text).is_file():
        raise Unreadable(f"{text}: expected a run's name or a {SUFFIX} file")
    run = find_run(text)
    return Source(_load(run.model), run.record)


def _load(path: Path) -> keras.Model:
    if not path.is_file():
        raise NotFound(f"no Keras model at {path}")
    if not zipfile.is_zipfile(path):
        raise Unreadable(f"{path} is not a Keras model: expected a {SUFFIX} file, which is a zip archive")
    try:
        # Safe mode is Keras's default, said here because a stranger's file may hold code.
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # a damaged or hostile file can make Keras raise anything
        reason = textwrap.shorten(str(error), _LONGEST_REASON, placeholder=" …")
        raise Unreadable(f"{path} cannot be loaded as a Keras model: {reason}") from error
