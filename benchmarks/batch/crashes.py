"""A batch that is killed at random moments, and the result it ends with."""

import random
import shutil
import subprocess
import time
from pathlib import Path

from benchmarks.batch.commands import batch_command, run, run_batch

_PARTS = ("--part-rows", "500")  # small ones, so that each kill meets a job that is not done
_MOST_PARTS = 3
_MOST_S = 0.05


def count_equal(server: str, pictures: Path, folder: Path, layer: str, kills: int) -> tuple[int, int]:
    """Return how many kills met a job at work, and how many files the result has, each equal to the undisturbed one.

    Raises:
        AssertionError: the result is not that of the undisturbed run.
    """
    run_batch(server, pictures, folder / "undisturbed", layer, *_PARTS)
    disturbed = folder / "disturbed"
    shutil.rmtree(disturbed, ignore_errors=True)
    command = batch_command(server, pictures, disturbed, layer, *_PARTS)
    random_ = random.Random(0)  # noqa: S311 - no secret
    met = sum(_kill(command, disturbed, random_) for _ in range(kills))
    run(*command)
    expected, found = (_read(path) for path in (folder / "undisturbed", disturbed))
    assert expected == found, "the results differ"
    return met, len(found)


def _kill(command: list[str | Path], out: Path, random_: random.Random) -> bool:
    """Start the job, kill it some parts and some milliseconds later, and return whether it was still at work."""
    wanted = len(_list(out)) + random_.randrange(_MOST_PARTS + 1)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while len(_list(out)) < wanted and process.poll() is None:
            time.sleep(0.001)
        time.sleep(random_.uniform(0, _MOST_S))
        at_work = process.poll() is None
        process.kill()
    return at_work


def _list(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*"))


def _read(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in _list(folder)}
