"""Servers under test: on one core, and stopped while another one is measured."""

import contextlib
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

import psutil

SERVER_CORE = 0
LOAD_CORE = 1


class ServerProcess:
    """A process that says in a line of its output that it is ready, and all that it starts."""

    def __init__(self, command: Sequence[str], ready: str, log: Path, wait_s: float = 180.0) -> None:
        """Start it.

        Raises:
            RuntimeError: it ended, or was not ready in time; with the last line that it printed.
        """
        self._log = log
        with log.open("w") as file:
            self._process = subprocess.Popen(
                ["taskset", "-c", str(SERVER_CORE), *command],
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                start_new_session=True,
            )
        guard = threading.Timer(wait_s, self.end)
        guard.start()
        assert self._process.stdout
        for line in self._process.stdout:
            if ready in line:
                break
        else:
            self.end()
            raise RuntimeError((log.read_text().strip() or "it ended without a word").splitlines()[-1][:200])
        guard.cancel()
        threading.Thread(target=self._process.stdout.read, daemon=True).start()

    def pause(self) -> None:
        """Stop it: it takes nothing from the one that is measured."""
        os.killpg(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it run."""
        os.killpg(self._process.pid, signal.SIGCONT)

    def end(self) -> None:
        """End it and all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    @property
    def cpu_s(self) -> float:
        """CPU seconds it has used, with its children."""
        return sum(sum(each.cpu_times()[:2]) for each in self._tree())

    @property
    def peak_mib(self) -> float:
        """Largest resident sets so far, together."""
        return sum(_peak_kib(each.pid) for each in self._tree()) / 1024

    def _tree(self) -> list[psutil.Process]:
        process = psutil.Process(self._process.pid)
        return [process, *process.children(recursive=True)]


def find_port() -> int:
    """Return a free port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def _peak_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1])
    return 0
