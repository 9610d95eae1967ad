"""The runs under the working directory: `runs/NAME`."""

import contextlib
import fcntl
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from strata_training.config import read_config
from strata_training.errors import Exists, NotFound, Stopped, TrainingError, Unreadable, unknown
from strata_training.names import check_name
from strata_training.records import Record, read_record

RUNS = Path("runs")
CONFIG = "config.toml"
"""What the run was told: `--config` reads it."""
DATA_DIGEST = "data.sha256"
"""Of the examples, so that nobody goes on with others."""
HISTORY = "history.csv"
CHECKPOINTS = "checkpoints"
"""The state after the last epoch; all that is needed to go on."""
MODEL = "model.keras"
"""The weights of the best epoch."""
LOGS = "logs"
"""For TensorBoard."""
HELD_OUT = "held_out.npz"
SAMPLES = "samples"
RECORD = "run.json"
"""Written last: a folder without it is a run that is not finished."""


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
        NotFound: there is none of that name, or it is not finished.
        Unreadable: its record cannot be read.
    """
    folder = RUNS / name
    if is_started(name) and not is_run(name):
        raise NotFound(f"the run {name!r} is not finished; {_how_to_go_on(name)}")
    if not is_run(name):
        raise unknown("run", name, (path.parent.name for path in RUNS.glob(f"[!.]*/{RECORD}")))
    try:
        return Run(folder, read_record((folder / RECORD).read_text(encoding="utf-8")))
    except (Unreadable, UnicodeDecodeError) as error:
        raise Unreadable(f"cannot read {folder / RECORD}: {error}") from error


def is_run(name: str) -> bool:
    """Say whether there is a finished run of that name."""
    return Path(name).name == name and (RUNS / name / RECORD).is_file()


def is_started(name: str) -> bool:
    """Say whether there is a run of that name, finished or not."""
    return Path(name).name == name and (RUNS / name / CONFIG).is_file()


def find_config(name: str) -> Path:
    """Return the config of a run that can be gone on with.

    Raises:
        NotFound: there is none of that name.
        Exists: it is finished.
    """
    if is_run(name):
        raise Exists(f"the run {name!r} is finished: there is nothing to go on with")
    if not is_started(name):
        raise unknown("unfinished run", name, (path.parent.name for path in _unfinished()))
    return RUNS / name / CONFIG


@contextlib.contextmanager
def new_run(name: str) -> Iterator[Path]:
    """Give the new folder `runs/NAME` to write a run in.

    What breaks off after a checkpoint leaves the folder, so that one can go on; before that, nothing is left. An
    error that whoever typed the command has to mend leaves nothing either way.

    Raises:
        BadName: it cannot be a folder's name.
        Exists: a run of that name is there; none is ever overwritten.
        Stopped: the user broke it off, and can go on.
    """
    check_name("run", name)
    folder = RUNS / name
    made = not RUNS.exists()
    RUNS.mkdir(exist_ok=True)
    try:
        folder.mkdir()
    except FileExistsError as error:
        can_go_on = is_started(name) and not is_run(name)
        hint = f"{_how_to_go_on(name)}, or choose another name" if can_go_on else "choose another name"
        raise Exists(f"the run {name!r} exists in {folder}; {hint}") from error
    try:
        with _at_work(name):
            yield folder
    except BaseException as error:
        mendable = isinstance(error, TrainingError) and not isinstance(error, Stopped)
        if mendable or not _has_checkpoint(folder):
            shutil.rmtree(folder, ignore_errors=True)
            if made:
                with contextlib.suppress(OSError):  # another run is in it by now
                    RUNS.rmdir()
        raise


@contextlib.contextmanager
def open_run(name: str) -> Iterator[Path]:
    """Give the folder of an unfinished run to go on with; whatever happens, it stays.

    Raises:
        NotFound: there is none of that name.
        Exists: it is finished.
        Stopped: the user broke it off again.
    """
    folder = find_config(name).parent
    with _at_work(name):
        yield folder


@contextlib.contextmanager
def _at_work(name: str) -> Iterator[None]:
    """Hold a run for this process alone, and say how to go on when the user breaks it off."""
    folder = RUNS / name
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Exists(f"another process is at work on the run {name!r}") from error
        try:
            yield
        except KeyboardInterrupt as error:
            if not _has_checkpoint(folder):
                raise
            raise Stopped(f"stopped; {_how_to_go_on(name)}") from error
        finally:
            (folder / ".lock").unlink()


def _has_checkpoint(folder: Path) -> bool:
    return any((folder / CHECKPOINTS).glob("*.keras"))


def _unfinished() -> Iterator[Path]:
    return (path for path in RUNS.glob(f"[!.]*/{CONFIG}") if not (path.parent / RECORD).exists())


def _how_to_go_on(name: str) -> str:
    command = "finetune" if "from" in read_config(RUNS / name / CONFIG) else "fit"
    return f"to go on: strata-train {command} --run {name} --resume"
