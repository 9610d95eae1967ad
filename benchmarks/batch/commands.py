"""`strata batch` and what it is compared with, as processes of which time and memory are taken."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    seconds: float
    """From its start to its end, the interpreter's start included."""
    peak_mib: float
    """The largest resident set of the process."""
    output: str


def run(*command: str | Path) -> Ended:
    """Run a command, and take its time and memory.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, [str(part) for part in command])
    return Ended(time.perf_counter() - start, usage.ru_maxrss / 1024, output)


def batch_command(server: str, pictures: Path, out: Path, layer: str, *more: str) -> list[str | Path]:
    """Return the command for all pictures and one layer."""
    flags = ["--server", server, "--layers", layer, "--yes", "--json", *more]
    return [BIN / "strata", "batch", pictures, "--out", out, *flags]


def run_batch(server: str, pictures: Path, out: Path, layer: str, *more: str) -> tuple[dict[str, Any], Ended]:
    """Run `strata batch` into an empty place; return what it says, and what it took."""
    shutil.rmtree(out, ignore_errors=True)
    ended = run(*batch_command(server, pictures, out, layer, *more))
    return json.loads(ended.output), ended


def run_script(server: str, pictures: Path, out: Path, layer: str) -> float:
    """Run the plain script; return the seconds that it says."""
    script = [sys.executable, "-m", "benchmarks.batch.plain_script"]
    return float(run(*script, server, pictures, out, layer).output)


class Server:
    """`strata-server` on free ports."""

    def __init__(self, models: Path, *more: str) -> None:
        flags = ["--models", str(models), "--grpc-port", "0", "--http-port", "0", *more]
        self._process = subprocess.Popen(
            [str(BIN / "strata-server"), *flags], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        guard = threading.Timer(60, self._process.kill)
        guard.start()
        assert self._process.stdout
        words = self._process.stdout.readline().split()
        guard.cancel()
        if "grpc" not in words:
            raise RuntimeError("the server did not start")
        self.address = words[words.index("grpc") + 1].rstrip(",")

    @property
    def peak_mib(self) -> float:
        """The largest resident sets that its processes have had, together."""
        process = psutil.Process(self._process.pid)
        return sum(_read_peak_kib(each.pid) for each in (process, *process.children(recursive=True))) / 1024

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()


def _read_peak_kib(pid: int) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0])
