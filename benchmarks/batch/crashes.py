"""A batch that is killed at random moments, and the result it ends with."""

import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

from benchmarks.batch.commands import batch_command, run, run_batch

_PARTS = ("--part-rows", "1000")  # small ones, so that a kill meets a job that has some


def count_equal(server: str, pictures: Path, folder: Path, layer: str, kills: int) -> tuple[int, int]:
    """Return how many kills met a job at work, and how many of the files at the end equal those of an undisturbed run.

    Raises:
        AssertionError: the result is not that of the undisturbed run.
    """
    _, undisturbed = run_batch(server, pictures, folder / "undisturbed", layer, *_PARTS)
    disturbed = folder / "disturbed"
    shutil.rmtree(disturbed, ignore_errors=True)
    command = batch_command(server, pictures, disturbed, layer, *_PARTS)
    moments = random.Random(0)  # noqa: S311 - no secret
    met = 0
    for _ in range(kills):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(moments.uniform(0.3, 1) * undisturbed.seconds)
        met += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    run(*command)
    expected, found = (_read(path) for path in (folder / "undisturbed", disturbed))
    assert expected == found, "the results differ"
    return met, len(found)


def _read(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("part-*")}
