"""Where a user has worked, and how the command is typed there."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from click.testing import Result
from strata_training.runs import Run

Invoke = Callable[..., Result]


@dataclass(frozen=True)
class Workplace:
    """A folder in which a user has fitted and exported."""

    folder: Path
    run: Run
    artifact: Path
    epoch_lines: list[str]
