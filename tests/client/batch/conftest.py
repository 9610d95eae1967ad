"""What tests of a batch share: pictures, and the command that puts them through the network."""

import json
import os
import subprocess
from collections.abc import Callable
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


def begin(address: str, *arguments: object) -> "subprocess.Popen[str]":
    """Start `strata batch` in a process of its own."""
    command = [BIN / "strata", "batch", "--server", address, "--model", "tiny:1", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))


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
