"""What worker processes and their supervisor know of each other, in memory that they share."""

import mmap
import time
from enum import IntEnum

from strata_server.memory_files import make_memory_file

_NUMBER_BYTES = 8


class State(IntEnum):
    """What a worker does."""

    STARTING = 0
    READY = 1
    STOPPING = 2
    LACKING = 3
    """It takes requests, and has not all that the others serve."""

    @property
    def serves(self) -> bool:
        """Whether requests are taken."""
        return self in {State.READY, State.LACKING}


class Board:
    """A row for each worker: its state, and when it last gave a sign of life."""

    def __init__(self, file: int, workers: int) -> None:
        """Open the board that a file holds; `make_board` makes one."""
        self.file = file
        self.workers = workers
        self._numbers = memoryview(mmap.mmap(file, _size(workers))).cast("q")

    def set(self, worker: int, state: State) -> None:
        """Note what a worker does, and that it lives."""
        self._numbers[2 * worker] = state
        self.beat(worker)

    def beat(self, worker: int) -> None:
        """Note that a worker lives."""
        self._numbers[2 * worker + 1] = time.monotonic_ns()  # one clock for all processes

    def state(self, worker: int) -> State:
        """Return what a worker does."""
        return State(self._numbers[2 * worker])

    def silence_s(self, worker: int) -> float:
        """Return how long ago a worker gave a sign of life, in seconds."""
        return (time.monotonic_ns() - self._numbers[2 * worker + 1]) / 1e9

    @property
    def ready(self) -> int:
        """How many workers take requests."""
        return sum(self.state(worker) is State.READY for worker in range(self.workers))


def make_board(workers: int) -> Board:
    """Return a new board, whose file child processes may inherit."""
    return Board(make_memory_file("board", _size(workers)), workers)


def _size(workers: int) -> int:
    return 2 * _NUMBER_BYTES * workers
