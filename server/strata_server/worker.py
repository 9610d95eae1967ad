"""One of several processes that serve on the same ports."""

import os
import signal
import threading
from dataclasses import asdict, dataclass

from strata_server.board import Board, State


@dataclass(frozen=True)
class Place:
    """Where a worker stands: what its supervisor tells it at its start."""

    index: int
    workers: int
    grpc_port: int
    http_socket: int
    """The socket that all of them accept from."""
    board: int
    """The file of the board."""
    tallies: int
    """The file of what all of them count."""
    life: int
    """A pipe that ends when the supervisor does."""
    control: int
    """A socket over which changes are told and asked for."""
    is_first: int
    """1 for a worker of the server's start, 0 for one in the place of another."""

    def write(self) -> str:
        """Return it as an argument of the command."""
        return ",".join(map(str, asdict(self).values()))

    @classmethod
    def read(cls, text: str) -> "Place":
        """Return what `write` has written."""
        return cls(*map(int, text.split(",")))


class Alone:
    """This process, the only one that serves."""

    def __init__(self) -> None:
        self._state = State.STARTING

    def set(self, state: State) -> None:
        """Note what it does."""
        self._state = state

    def beat(self) -> None:
        """Do nothing: nobody listens."""

    def lack(self) -> str:
        """Say what is missing until requests are taken; nothing when none is."""
        return "" if self._state is State.READY else "not ready"


class Worker:
    """This process among the others."""

    def __init__(self, place: Place) -> None:
        """Take the place, and end when the supervisor ends."""
        self.place = place
        self._board = Board(place.board, place.workers)
        threading.Thread(target=self._outlive_nobody, name="life", daemon=True).start()

    def set(self, state: State) -> None:
        """Tell the others what this one does."""
        self._board.set(self.place.index, state)

    def beat(self) -> None:
        """Tell the supervisor that this one lives."""
        self._board.beat(self.place.index)

    def lack(self) -> str:
        """Say what is missing until all take requests; nothing when none is."""
        ready = self._board.ready
        return "" if ready == self.place.workers else f"{ready} of {self.place.workers} workers ready"

    def _outlive_nobody(self) -> None:
        os.read(self.place.life, 1)  # nothing is ever written: it returns at the end of the supervisor
        os.kill(os.getpid(), signal.SIGTERM)
