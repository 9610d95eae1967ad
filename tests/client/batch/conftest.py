"""What tests of a batch share: pictures, and the command that puts them through the network."""

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from artifacts import SIDE
from click.testing import CliRunner, Result
from PIL import Image
from processes import BIN, ServerProcess
from strata_client.cli import main
from waiting import wait_until

COUNT = 60
Batch = Callable[..., Result]


def write_pictures(folder: Path, count: int) -> Path:
    """Write pictures of the tiny artifact's size, each another one."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:04}.png")
    return folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of sixty pictures."""
    return write_pictures(tmp_path_factory.mktemp("pictures") / "shots", COUNT)


@pytest.fixture
def batch(tiny: ServerProcess) -> Batch:
    """Run `strata batch` in this process, against the tiny artifact's first version."""

    def run(*arguments: object, **options: Any) -> Result:
        flags = ["batch", "--server", tiny.grpc, "--model", "tiny:1", *map(str, arguments)]
        return CliRunner().invoke(main, flags, **options)

    return run


class Job:
    """`strata batch` in a process of its own."""

    def __init__(self, address: str, *arguments: object) -> None:
        command = [str(BIN / "strata"), "batch", "--server", address, "--model", "tiny:1", *map(str, arguments)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.errors = ""

    def hold(self, out: Path, count: int) -> None:
        """Stop it in the middle, when so many parts are there: what happens next happens to an unfinished job."""
        wait_until(lambda: len(parts(out)) >= count or self.process.poll() is not None)
        self.process.send_signal(signal.SIGSTOP)
        assert self.process.poll() is None, self.end()

    def go_on(self) -> None:
        """Let it run again."""
        self.process.send_signal(signal.SIGCONT)

    def end(self) -> int:
        """Return its exit code when it has ended."""
        _, self.errors = self.process.communicate(timeout=60)
        return self.process.returncode


Begin = Callable[..., Job]


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Start jobs; none of them outlives the test."""
    jobs: list[Job] = []

    def start(address: str, *arguments: object) -> Job:
        jobs.append(Job(address, *arguments))
        return jobs[-1]

    yield start
    for job in jobs:
        if job.process.returncode is None:
            job.process.kill()
            job.end()


def parts(out: Path) -> list[Path]:
    """Return the parts that are there, in their order."""
    return sorted(out.glob("part-*.parquet"))


def read_result(out: Path) -> dict[str, Any]:
    """Return the columns of a Parquet result as an analyst gets them: lists of text, arrays of tensors."""
    table = pq.read_table(out).combine_chunks()
    return {
        name: table.column(name).combine_chunks().to_numpy_ndarray()
        if hasattr(table.schema.field(name).type, "shape")
        else table.column(name).to_pylist()
        for name in table.column_names
    }


def read_bytes(out: Path) -> dict[str, bytes]:
    """Return the files of a result: two that are equal byte for byte are equal row for row."""
    return {path.name: path.read_bytes() for path in parts(out)}


def read_summary(done: Result) -> dict[str, Any]:
    """Return what `--json` printed."""
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary
