"""Real server processes."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil

BIN = Path(sys.executable).parent
_READY = re.compile(r"strata-server ready: grpc (\S+), http (\S+), device \S+, models (.+)")


class ServerProcess:
    """A strata-server on free ports; it is ready when this is made."""

    def __init__(self, models: Path, *flags: str, wait_s: float = 60) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
        self._last_log = ""
        self.folder = models
        command = [
            str(BIN / "strata-server"),
            "--models",
            str(models),
            "--grpc-port",
            "0",
            "--http-port",
            "0",
            *flags,
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._log, text=True)
        # A server that never gets ready is ended, and the read below with it: a bound without polling.
        guard = threading.Timer(wait_s, self.process.kill)
        guard.start()
        assert self.process.stdout
        self.ready_line = self.process.stdout.readline()
        guard.cancel()
        match = _READY.match(self.ready_line)
        if not match:
            self.kill()
            raise AssertionError(f"the server did not start:\n{self.log}")
        self.grpc, self.http, self.models = match[1], f"http://{match[2]}", match[3]

    @property
    def log(self) -> str:
        """What it has written to standard error."""
        if not self._log.closed:
            # The process writes through the same open file: reading at a place of its own leaves that alone.
            self._last_log = os.pread(self._log.fileno(), 2**20, 0).decode()
        return self._last_log

    @property
    def workers(self) -> list[psutil.Process]:
        """Its worker processes; another child tries artifacts."""
        children = psutil.Process(self.process.pid).children()
        return [child for child in children if "--worker" in child.cmdline()]

    def signal_stop(self) -> None:
        """Ask it to stop."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self, wait_s: float = 30) -> int:
        """Return its exit status when it has ended."""
        status = self.process.wait(wait_s)
        self._close()
        return status

    def kill(self) -> None:
        """End it, whatever it does."""
        self.process.kill()
        self.process.wait()
        self._close()

    def _close(self) -> None:
        assert self.process.stdout
        self.process.stdout.close()
        self._last_log = self.log
        self._log.close()


@contextlib.contextmanager
def serving(models: Path, *flags: str) -> Iterator[ServerProcess]:
    """Run a server as long as the block lasts; it must then stop cleanly."""
    server = ServerProcess(models, *flags)
    try:
        yield server
    except BaseException:
        print(server.log, file=sys.stderr)
        server.kill()
        raise
    if server.process.poll() is None:
        server.signal_stop()
    assert server.wait() == 0, server.log


def start(*flags: str | Path, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [BIN / "strata-server", "--grpc-port", "0", "--http-port", "0", *flags]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **(environment or {})},
    )
