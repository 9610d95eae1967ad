"""What every test may use: the tiny artifact served, and the digits CNN trained, exported and served."""

import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from artifacts import write_artifact
from pages import Shell
from processes import BIN, ServerProcess, serving
from typed_models import write_typed

# What runs in the background ignores Ctrl-C, and hands that on to what it starts: tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class Digits:
    """The digits CNN, made by the commands a user types."""

    folder: Path
    """Where they were typed."""
    fit_output: str
    export_output: str

    @property
    def models(self) -> Path:
        """The model repository."""
        return self.folder / "models"

    @property
    def run(self) -> Path:
        """The run's folder."""
        return self.folder / "runs" / "digits"

    def sample(self, digit: int) -> Path:
        """Return a held-out picture of a digit."""
        return self.run / "samples" / f"{digit}.png"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Serve two versions of the tiny artifact."""
    models = tmp_path_factory.mktemp("tiny") / "models"
    write_artifact(models, version=1)
    write_artifact(models, version=12)
    with serving(models) as server:
        yield server


@pytest.fixture(scope="session")
def typed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Serve networks of all types of elements; what arrives within 20 ms runs together."""
    models = tmp_path_factory.mktemp("typed") / "models"
    write_typed(models)
    with serving(models, "--max-message-bytes", str(2**20), "--batch-wait-us", "20000") as server:
        yield server


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    """Train and export the digits CNN."""
    folder = tmp_path_factory.mktemp("digits")
    fit = _strata_train(folder, "fit", "--data", "digits", "--network", "cnn", "--run", "digits")
    export = _strata_train(folder, "export", "--from", "digits", "--model", "digits", "--models", "models")
    return Digits(folder, fit, export)


@pytest.fixture(scope="session")
def server(digits: Digits) -> Iterator[ServerProcess]:
    """Serve the digits CNN."""
    with serving(digits.models) as server:
        yield server


@pytest.fixture(scope="session")
def shell(digits: Digits, server: ServerProcess) -> Iterator[Shell]:
    """Run what pages of the documentation show."""
    shell = Shell(digits.folder, server)
    yield shell
    shell.close()


@pytest.fixture(scope="session")
def pictures(shell: Shell) -> Path:
    """Make the pictures that the pages of docs/tasks look at."""
    shell.run("python ../client/examples/pictures.py pictures")
    return shell.folder / "pictures"


def _strata_train(folder: Path, *arguments: str) -> str:
    command = [str(BIN / "strata-train"), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
