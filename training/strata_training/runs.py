"""The runs under the working directory: `runs/NAME`."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from strata_training.errors import Exists, Unreadable, unknown
from strata_training.folders import fresh_folder
from strata_training.names import check_name
from strata_training.records import Record, read_record

RUNS = Path("runs")
MODEL = "model.keras"
RECORD = "run.json"
HISTORY = "history.csv"
SAMPLES = "samples"


@dataclass(frozen=True)
class Run:
    """A finished run."""

    folder: Path
    record: Record

    @property
    def name(self) -> str:
        """Its name."""
        return self.folder.name

    @property
    def model(self) -> Path:
        """The Keras model with the best weights."""
        return self.folder / MODEL


def find_run(name: str) -> Run:
    """Return a run.

    Raises:
        NotFound: there is none of that name.
        Unreadable: its record cannot be read.
    """
    folder = RUNS / name
    if not is_run(name):
        raise unknown("run", name, (path.parent.name for path in RUNS.glob(f"[!.]*/{RECORD}")))
    try:
        return Run(folder, read_record((folder / RECORD).read_text(encoding="utf-8")))
    except (Unreadable, UnicodeDecodeError) as error:
        raise Unreadable(f"cannot read {folder / RECORD}: {error}") from error


def is_run(name: str) -> bool:
    """Say whether there is a run of that name."""
    return Path(name).name == name and (RUNS / name / RECORD).is_file()


@contextlib.contextmanager
def new_run(name: str, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a folder to write a run in; it appears as `runs/NAME` when the block ends well.

    Raises:
        BadName: it cannot be a folder's name.
        Exists: a run of that name is there, and `overwrite` is not asked for.
    """
    check_name("run", name)
    # Told now as well, not only after minutes of training.
    if not overwrite and (RUNS / name).exists():
        raise Exists(f"the run {name!r} exists in {RUNS / name}; choose another name or add --overwrite")
    with fresh_folder(RUNS / name, overwrite=overwrite) as folder:
        yield folder
