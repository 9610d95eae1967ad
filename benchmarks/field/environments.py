"""Environments of their own for rivals: their requirements contradict each other's, and ours."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "environments"
SERVERS = Path(__file__).parent / "rival_servers"


@dataclass(frozen=True)
class Environment:
    """A folder with a Python and packages."""

    folder: Path

    def command(self, name: str) -> str:
        """Return the path of one of its commands."""
        return str(self.folder / "bin" / name)

    @property
    def packages(self) -> Path:
        """Where its packages are."""
        return next(self.folder.glob("lib/python*/site-packages"))

    @property
    def variables(self) -> dict[str, str]:
        """What its servers find in their environment."""
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": f"{SERVERS}:{self.packages}",
            "PYTHONUNBUFFERED": "1",
            # Triton's Python stub looks for the library of the Python that the environment was made of.
            "LD_LIBRARY_PATH": str(sysconfig.get_config_var("LIBDIR")),
        }


def make_environment(name: str, requirements: Sequence[str]) -> Environment:
    """Return an environment with packages and the onnxruntime of this one; installed where it is not there yet.

    Raises:
        RuntimeError: it cannot be installed; with the last line that the installer printed.
    """
    folder = FOLDER / name
    wanted = [*requirements, f"onnxruntime=={importlib.metadata.version('onnxruntime')}"]
    marker = folder / "requirements.txt"
    if not marker.exists() or marker.read_text().split() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        installer = os.environ.get("UV") or shutil.which("uv") or str(Path(__file__).parents[2] / ".uv/bin/uv")
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        _call(installer, "venv", "--quiet", "--python", version, str(folder))
        _call(installer, "pip", "install", "--quiet", "--python", str(folder / "bin" / "python"), *wanted)
        marker.write_text("\n".join(wanted) + "\n")
    return Environment(folder)


def _call(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"cannot be installed: {(done.stderr.strip() or 'no reason given').splitlines()[-1]}")
