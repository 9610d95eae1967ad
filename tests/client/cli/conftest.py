from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from artifacts import SIDE
from click.testing import CliRunner, Result
from processes import ServerProcess
from strata_client.cli import main

Run = Callable[..., Result]


@pytest.fixture
def strata(tiny: ServerProcess) -> Run:
    """Run the command against the server of the tiny artifact."""

    def run(*arguments: object, **options: Any) -> Result:
        options = {"env": {"STRATA_SERVER": tiny.grpc}, **options}
        return CliRunner().invoke(main, [str(argument) for argument in arguments], **options)

    return run


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    """An .npy file of three rows of the tiny artifact's input."""
    np.save(tmp_path / "arrays.npy", np.random.default_rng(1).random((3, SIDE, SIDE, 1), np.float32))
    return tmp_path / "arrays.npy"
