"""Keeps worker processes alive that share the ports: one that dies or hangs is replaced.

It holds no gRPC object and no network: nothing that a request does can bring it down.
"""

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from strata_server.addresses import Address, listen, resolve_host
from strata_server.board import State, make_board
from strata_server.coordination import Coordinator, Here
from strata_server.curator import Curator
from strata_server.errors import StartError
from strata_server.logs import SUBJECT as LOG
from strata_server.logs import Logs
from strata_server.remote import There
from strata_server.settings import Settings
from strata_server.stopping import StopSignal
from strata_server.tallies import make_tallies_file
from strata_server.trials import Trials
from strata_server.watcher import Watcher
from strata_server.worker import Place

_LOOK_S = 0.1
_LONGEST_DELAY_S = 30.0
_PATIENCE_S = 30.0  # for a step of a change, beside the opening of versions
_GRACE_S = 5.0  # beside the drain, for the end of a worker
_ENTRY = "from strata_server.cli import main; main(prog_name='strata-server')"

log = logging.getLogger(__name__)


@dataclass
class _Child:
    """A worker's process, and those that had its place before."""

    index: int
    process: "subprocess.Popen[str] | None" = None
    failures: int = 0
    """How often it ended before it was ready, one after the other."""
    again_at: float = 0.0
    ready_line: str = ""


class Supervisor:
    """Starts the workers, watches them, and stops them."""

    def __init__(self, settings: Settings, arguments: Sequence[str], trials: Trials) -> None:
        """Take the ports.

        Args:
            settings: how the server runs.
            arguments: of the command, which each worker is started with.
            trials: of artifacts, before workers open them.

        Raises:
            StartError: a port cannot be had.
        """
        self._settings = settings
        self._arguments = list(arguments)
        self._board = make_board(settings.workers)
        self._tallies = make_tallies_file(settings.workers)
        host = resolve_host(settings.host)
        self._reserved = _reserve(Address(host, settings.grpc_port))
        self._http = listen(Address(host, settings.http_port))
        self._life, self._end = os.pipe()
        self._children = [_Child(index) for index in range(settings.workers)]
        self._coordinator = Coordinator(_PATIENCE_S)
        self._has_begun = False
        self._trials = trials
        self._curator = Curator(settings, self._coordinator, trials)
        self._coordinator.models = self._curator
        self._coordinator.join(Here({LOG: Logs(logging.getLogger().handlers)}))  # it logs as well
        self._watcher = Watcher(settings, self._coordinator, self._curator)

    def run(self, stop: StopSignal) -> int:
        """Serve until the signal comes; return the exit status.

        Raises:
            StartError: the models cannot be had.
            Stopped: the signal came before the first worker was started.
        """
        self._coordinator.finish(lambda: self._curator.begin(stop.check), stop.check)
        first, *others = self._children
        process = self._start(first)
        # What keeps one from starting keeps all: one finds it, and says it once.
        while not self._is_ready(first):
            status = process.poll()
            if status is not None or stop.wait(_LOOK_S):
                return self._stop() if status is None else status or 1
        for child in others:
            self._start(child)
        self._watcher.start()
        self._has_begun = True
        is_told = False
        while not stop.wait(_LOOK_S):
            for child in self._children:
                self._look_after(child)
            if not is_told and self._board.ready == self._settings.workers:
                is_told = True
                print(f"{first.ready_line}, workers {self._settings.workers}", flush=True)
        return self._stop()

    def _start(self, child: _Child) -> "subprocess.Popen[str]":
        self._board.set(child.index, State.STARTING)
        ours, theirs = socket.socketpair()
        place = Place(
            index=child.index,
            workers=self._settings.workers,
            grpc_port=self._reserved.getsockname()[1],
            http_socket=self._http.fileno(),
            board=self._board.file,
            tallies=self._tallies,
            life=self._life,
            control=theirs.fileno(),
            is_first=int(not self._has_begun),
        )
        child.process = subprocess.Popen(  # noqa: S603 - it is this program, with the arguments it was given
            [sys.executable, "-c", _ENTRY, *self._arguments, "--worker", place.write()],
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=(place.http_socket, place.board, place.tallies, place.life, place.control),
        )
        theirs.close()
        There(ours, self._coordinator, child.process.kill)
        threading.Thread(target=_read_ready_line, args=(child, child.process), daemon=True).start()
        return child.process

    def _is_ready(self, child: _Child) -> bool:
        return self._board.state(child.index) is State.READY and bool(child.ready_line)

    def _look_after(self, child: _Child) -> None:
        if child.process is None:
            if time.monotonic() >= child.again_at:
                self._start(child)
            return
        status = child.process.poll()
        state, silence_s = self._board.state(child.index), self._board.silence_s(child.index)
        if status is None and state.serves and silence_s > self._settings.worker_timeout_s:
            log.error("worker %d has hung for %.1f s: it is killed", child.index, silence_s)
            child.process.kill()
            status = child.process.wait()
        if status is None:
            return
        child.failures = 0 if state.serves else child.failures + 1
        delay_s = min(2.0 ** (child.failures - 1), _LONGEST_DELAY_S) if child.failures else 0.0
        log.error("worker %d ended with %s; another starts in %.0f s", child.index, _describe(status), delay_s)
        self._board.set(child.index, State.STARTING)
        child.process = None
        child.again_at = time.monotonic() + delay_s

    def _stop(self) -> int:
        running = [child.process for child in self._children if child.process and child.process.poll() is None]
        for child in self._children:
            self._board.set(child.index, State.STOPPING)
        for process in running:
            process.send_signal(signal.SIGTERM)
        self._coordinator.close()
        self._trials.close()
        self._watcher.stop()
        until = time.monotonic() + self._settings.drain_s + _GRACE_S
        for process in running:
            try:
                process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("a worker did not stop in time and was killed")
                process.kill()
                process.wait()
        return 0


def _read_ready_line(child: _Child, process: "subprocess.Popen[str]") -> None:
    if process.stdout is None:
        return
    with process.stdout as lines:
        child.ready_line = lines.readline().rstrip("\n") or child.ready_line
        for _ in lines:
            pass


def _describe(status: int) -> str:
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"


def _reserve(address: Address) -> socket.socket:
    """Return a socket that keeps a port for sockets of this user that share it; it never gets a connection."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        # Alone at first: a port that another server shares among its workers is taken.
        with socket.socket(family, socket.SOCK_STREAM) as alone:
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind((address.host, address.port))
            port = alone.getsockname()[1]
        shared = socket.socket(family, socket.SOCK_STREAM)
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        shared.bind((address.host, port))
    except OSError as error:
        raise StartError(f"cannot listen for gRPC on {address}; is the port taken?") from error
    return shared
