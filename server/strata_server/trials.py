"""Tries an artifact in a process of its own before it is served: one that crashes onnxruntime ends only that process.

A process waits with everything imported, and forks for each trial, so that a trial costs milliseconds. It holds no
session and no thread of its own, as these do not survive a fork.
"""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from strata_server.control import Json
from strata_server.settings import Settings

_ENTRY = "from strata_server.trial import serve_trials; serve_trials()"
_START_S = 60

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Verdict:
    """What came of a trial."""

    digest: str = ""
    """Of the artifact, where it can be served."""
    reason: str = ""
    """Why it cannot."""


class Trials:
    """The process that tries artifacts."""

    def __init__(self, settings: Settings) -> None:
        """Start it; it imports what it needs meanwhile."""
        self._settings = settings
        self._lock = threading.Lock()
        self._is_closed = False
        self._process: subprocess.Popen[bytes] | None = None
        self._start()

    def run(self, model: str, number: int, path: Path, settings: Json) -> Verdict:
        """Do with an artifact all that is done with it before it is served, in a process that ends with that.

        Args:
            model: its name.
            number: of the version.
            path: of the artifact.
            settings: what the model's folder says, as `ModelSettings.write` gives it.
        """
        order = json.dumps({"model": model, "number": number, "path": str(path), "settings": settings})
        with self._lock:
            for _ in range(2):
                if self._is_closed:
                    break
                if self._process is None:
                    self._start()
                try:
                    self._socket.sendall(order.encode() + b"\n")
                    line = self._lines.readline()
                except OSError as error:  # of which running out of time is one
                    log.error("the process that tries artifacts does not answer: %s", error)
                    line = ""
                if line:
                    return Verdict(**json.loads(line))
                self._end()
        if self._is_closed:
            return Verdict(reason="the server is stopping")
        return Verdict(reason="it cannot be tried: the process for that ends, the server's log says more")

    def __enter__(self) -> Self:
        """Return itself; the process ends with the block."""
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process, and what it tries; may be called twice."""
        self._is_closed = True
        if self._process:
            _kill(self._process)  # with what it tries: whoever waits for that wakes
        with self._lock:
            self._end()

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            devices = self._settings.devices
            told = {
                "models": str(self._settings.models),
                "allow_external_data": self._settings.allow_external_data,
                "device": devices.device,
                "cuda_algorithm_search": devices.cuda_algorithm_search,
                "cuda_memory_bytes": devices.cuda_memory_bytes,
                "threads": devices.threads,
                "spinning": devices.spinning,
                "batch_rows": self._settings.batches.rows,
                "warm": self._settings.slices.warm,
                "timeout_s": self._settings.load_timeout_s,
            }
            self._process = subprocess.Popen(  # noqa: S603 - it is this program
                [sys.executable, "-c", _ENTRY, str(theirs.fileno()), json.dumps(told)],
                pass_fds=(theirs.fileno(),),
                process_group=0,  # one signal ends it and what it tries; Ctrl-C is for the server alone
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # the ready line stands alone there
                # Threads that numpy's linear algebra starts at its import would not survive the fork.
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            )
        self._socket = ours
        self._socket.settimeout(_START_S + self._settings.load_timeout_s)
        self._lines = ours.makefile("r", encoding="utf-8")

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        self._lines.close()
        self._socket.close()
        _kill(process)
        process.wait()


def _kill(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
