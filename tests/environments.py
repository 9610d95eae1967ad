"""Environments of their own, made with uv."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

WORKSPACE = Path(__file__).resolve().parents[1]
UV = os.environ.get("UV") or shutil.which("uv") or str(WORKSPACE / ".uv" / "bin" / "uv")
# The versions are the locked ones, whatever is newest today.
LOCKED = ("--constraints", str(WORKSPACE / "requirements" / "dev.txt"))


def install(
    folder: Path, *arguments: str, versions: tuple[str, ...] = LOCKED, python: str = sys.executable
) -> tuple[Path, set[str]]:
    """Make an environment with what is asked for; return its commands' folder and its distributions."""
    uv("venv", "--python", python, str(folder))
    python = str(folder / "bin" / "python")
    uv("pip", "install", "--python", python, *versions, *arguments)
    listed = json.loads(uv("pip", "list", "--python", python, "--format", "json"))
    return folder / "bin", {entry["name"] for entry in listed}


def uv(*arguments: str) -> str:
    done = subprocess.run(
        [UV, "--quiet", *arguments], cwd=WORKSPACE, capture_output=True, text=True, timeout=170, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
