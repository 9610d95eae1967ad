"""Servers under test: on one core, and stopped while another one is measured."""

import contextlib
import signal
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

SERVER_CORE = 0
LOAD_CORE = 1


class ServerProcess:
    """A process that says in a line of its output that it is ready, and all that it starts."""

    def __init__(
        self,
        command: Sequence[str],
        ready: str,
        log: Path,
        variables: Mapping[str, str] | None = None,
        wait_s: float = 180.0,
    ) -> None:
        """Start it; with an empty word, without waiting for it.

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
                env=variables,
            )
        guard = threading.Timer(wait_s, self.end)
        guard.start()
        assert self._process.stdout
        if ready and not any(ready in line for line in self._process.stdout):
            self.end()
            raise RuntimeError(self.last_words or "it ended without a word")
        guard.cancel()
        threading.Thread(target=self._process.stdout.read, daemon=True).start()

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def last_words(self) -> str:
        """The last line that it printed as an error."""
        return "".join(self._log.read_text().strip().splitlines()[-1:])[:200]

    def pause(self) -> None:
        """Stop it: it takes nothing from the one that is measured."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it run."""
        self._signal(signal.SIGCONT)

    def end(self) -> None:
        """End it and all that it started."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    @property
    def cpu_s(self) -> float:
        """CPU seconds it has used, with its children."""
        return sum(sum(each.cpu_times()[:2]) for each in self._tree())

    @property
    def peak_mib(self) -> float:
        """Largest resident sets so far, together."""
        return sum(_peak_kib(each.pid) for each in self._tree()) / 1024

    @property
    def resident_mib(self) -> float:
        """Resident sets, together."""
        return sum(each.memory_info().rss for each in self._tree()) / 2**20

    def _signal(self, number: signal.Signals) -> None:
        # Not the process group: what it starts may have made one of its own.
        with contextlib.suppress(psutil.NoSuchProcess):
            for each in self._tree():
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.send_signal(number)

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
