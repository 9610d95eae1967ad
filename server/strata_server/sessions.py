"""The sessions that are held, under a budget of memory."""

import ctypes
import logging
import sys
import threading
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

import onnxruntime

from strata_server.deadline import Deadline
from strata_server.slicing import Part, Slice

# Making one takes a CPU: more at once would take it from the requests that run.
_MADE_AT_ONCE = 2
# A slice that does more than was asked may stand in for one that is not there, if it costs little more.
_STAND_IN_COST = 2.0

log = logging.getLogger(__name__)


class Maker(Protocol):
    """Makes the sessions of one version."""

    is_retired: bool
    """Whether none of its sessions is to be kept any more."""

    def make(self, part: Part) -> onnxruntime.InferenceSession:
        """Return a new session that runs a part."""

    def weigh(self, part: Part) -> int:
        """Return about how much memory such a session takes, in bytes."""

    def cost(self, part: Part) -> int:
        """Return how much a run of it computes, in a unit of the maker's own."""


@dataclass(frozen=True)
class Held:
    """How many sessions are held, and how much memory they take, about: those that are pinned, and the others."""

    pinned: int = 0
    pinned_bytes: int = 0
    kept: int = 0
    kept_bytes: int = 0

    def __add__(self, other: "Held") -> "Held":
        return Held(
            self.pinned + other.pinned,
            self.pinned_bytes + other.pinned_bytes,
            self.kept + other.kept,
            self.kept_bytes + other.kept_bytes,
        )


@dataclass
class _Entry:
    part: Part
    weight: int
    cost: int
    pinned: bool
    session: Future[onnxruntime.InferenceSession] = field(default_factory=Future)


class Sessions:
    """The sessions of all versions, one for each slice that was asked for.

    Each is made once, also when many ask for it at the same moment, and kept. Of those that are not pinned, the
    ones that were not used for the longest time make room for a new one.
    """

    def __init__(self, budget_bytes: int) -> None:
        """Hold none yet.

        Args:
            budget_bytes: memory for those that are not pinned.
        """
        self._budget = budget_bytes
        self._entries: OrderedDict[tuple[Maker, Slice], _Entry] = OrderedDict()
        self._lock = threading.Lock()
        self._largest_told = 0
        self._making = threading.Semaphore(_MADE_AT_ONCE)

    @property
    def held_bytes(self) -> int:
        """The memory that those take that are not pinned, about."""
        with self._lock:
            return self._held()

    def count(self) -> "dict[Maker, Held]":
        """Return how many are held of each maker, and how much memory they take."""
        with self._lock:
            entries = [(maker, entry.pinned, entry.weight) for (maker, _), entry in self._entries.items()]
        held: dict[Maker, Held] = {}
        for maker, pinned, weight in entries:
            held[maker] = held.get(maker, Held()) + (Held(1, weight) if pinned else Held(0, 0, 1, weight))
        return held

    def pin(self, maker: Maker, part: Part) -> None:
        """Make the session for a part now, and never let it go; errors are the maker's."""
        self._find(maker, part, pinned=True).result()

    def release(self, maker: Maker) -> None:
        """Let go of all sessions of a maker that is retired; one that is being made goes when it has answered."""
        with self._lock:
            keys = [key for key, entry in self._entries.items() if key[0] is maker and entry.session.done()]
            dropped = [self._entries.pop(key) for key in keys]
        _give_back(dropped)

    def get(self, maker: Maker, part: Part, deadline: Deadline) -> onnxruntime.InferenceSession:
        """Return a session that computes at least the exits of a part from its entries.

        The first who asks makes it, the others wait. Where the budget is full, one that is there and has all the
        exits may answer instead.

        Raises:
            DeadlinePassed: nobody waits for it any more.
        """
        ready = self.peek(maker, part)
        if ready:
            return ready
        session = self._find(maker, part)
        try:
            return session.result(deadline.remaining_s)
        except TimeoutError:
            deadline.check()
            raise

    def peek(self, maker: Maker, part: Part) -> onnxruntime.InferenceSession | None:
        """Return the session for exactly this part if it is there, without waiting."""
        with self._lock:
            entry = self._entries.get((maker, part.slice))
            if not entry or not entry.session.done() or entry.session.exception():
                return None
            self._entries.move_to_end((maker, part.slice))
            return entry.session.result()

    def _find(self, maker: Maker, part: Part, *, pinned: bool = False) -> Future[onnxruntime.InferenceSession]:
        key = (maker, part.slice)
        weight, cost = maker.weigh(part), maker.cost(part)
        with self._lock:
            entry = self._entries.get(key)
            if entry:
                return entry.session
            if not pinned and self._held() + weight > self._budget:
                stand_in = self._find_stand_in(maker, part, cost)
                if stand_in:
                    return stand_in.session
            entry = self._entries[key] = _Entry(part, weight, cost, pinned)
            dropped = self._make_room() if weight <= self._budget else []
        _give_back(dropped)
        self._fulfill(maker, entry)
        return entry.session

    def _find_stand_in(self, maker: Maker, part: Part, cost: int) -> _Entry | None:
        """Return the cheapest that is ready and has all the exits."""
        fitting = [
            entry
            for (owner, held), entry in self._entries.items()
            if owner is maker
            and entry.session.done()
            and held.entries == part.slice.entries
            and held.exits >= part.slice.exits
            and entry.cost <= cost * _STAND_IN_COST
        ]
        best = min(fitting, key=lambda entry: entry.cost, default=None)
        if best:
            self._entries.move_to_end((maker, best.part.slice))
        return best

    def _held(self) -> int:
        return sum(entry.weight for entry in self._entries.values() if not entry.pinned)

    def _drop(self, maker: Maker, entry: _Entry) -> None:
        """Take an entry out, unless others have made room of it already."""
        key = maker, entry.part.slice
        if self._entries.get(key) is entry:
            del self._entries[key]

    def _tell_too_large(self, weight: int) -> None:
        """Log the largest so far alone: each request may make one anew."""
        if weight > self._largest_told:
            self._largest_told = weight
            log.warning("slices of about %d bytes are not kept: --slice-memory is %d", weight, self._budget)

    def _make_room(self) -> list[_Entry]:
        """Take the least used sessions out, but none that is being made, and return them."""
        excess = self._held() - self._budget
        dropped = []
        for key, entry in list(self._entries.items()):
            if excess <= 0:
                break
            if entry.session.done() and not entry.pinned:
                dropped.append(self._entries.pop(key))
                excess -= entry.weight
        return dropped

    def _fulfill(self, maker: Maker, entry: _Entry) -> None:
        try:
            with self._making:
                session = maker.make(entry.part)
        except BaseException as error:
            with self._lock:
                self._drop(maker, entry)  # the next one to ask tries again
            entry.session.set_exception(error)
            if not isinstance(error, Exception):
                raise
            return
        entry.session.set_result(session)
        with self._lock:
            is_too_large = not entry.pinned and entry.weight > self._budget
            if is_too_large:
                self._tell_too_large(entry.weight)
            if is_too_large or maker.is_retired:
                # It answers those who wait, and goes: a large one would push out all others for good.
                self._drop(maker, entry)
            dropped = self._make_room()
        _give_back(dropped)


def _give_back(dropped: list[_Entry]) -> None:
    """Return the memory of dropped sessions to the system, which the C library keeps unless it is asked."""
    if not dropped:
        return
    dropped.clear()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's alone
        if trim:
            trim(0)
