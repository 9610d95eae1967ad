"""Runs rows of several requests together: what queued while the last batch ran is the next one."""

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from strata_server.deadline import Deadline
from strata_server.errors import Overloaded
from strata_server.lines import Batch, Entry, Group, Line, Share
from strata_server.plans import Outcome, Plan, Task
from strata_server.settings import BatchSettings
from strata_server.tallies import Tallies
from strata_server.tensors import Array
from strata_server.version import Version

# A batch as short as that may run where requests are received: handing it over would take a good part of it.
_SHORT_S = 0.005
_RUNNERS = 16  # long batches of different lines at a time
_MAKERS = 2  # slices that are made at a time
_LINES_REMEMBERED = 1024
_JOINED = 4  # groups that are tried for one run
_MISSES = 4  # so often one run must have been cheaper than two before its slice is made
_NEVER = -(2**31)
# How far a prediction may be off before a request that was let in misses its deadline.
_MARGIN = 1.25

log = logging.getLogger(__name__)


@dataclass
class _Queue:
    """What waits and runs of one model."""

    rows: int = 0
    nbytes: int = 0


class Batcher:
    """The queues of all models.

    Rows are counted, not requests. A line, which is a version and where rows enter in which shape, runs one batch
    at a time: the next one forms meanwhile, and a request that finds nothing running runs at once.
    """

    def __init__(self, settings: BatchSettings, tallies: Tallies | None = None) -> None:
        self._settings = settings
        self._tallies = tallies or Tallies()
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._lines: OrderedDict[Hashable, Line] = OrderedDict()
        self._queues: dict[str, _Queue] = {}
        self._retiring: dict[Version, Callable[[], None]] = {}
        self._ready: deque[Line] = deque()
        self._runners = ThreadPoolExecutor(_RUNNERS, thread_name_prefix="runner")
        self._makers = ThreadPoolExecutor(_MAKERS, thread_name_prefix="maker")

    def submit(self, task: Task, tell: Callable[[Outcome], None], *, here: bool = False) -> None:
        """Let a task wait for its turn.

        Args:
            task: what to compute.
            tell: called once, with the values or the error, by the thread that has run it.
            here: whether the caller's thread calls `run_ready` soon.

        Raises:
            Overloaded: there is no room, or the deadline cannot be made behind those that wait.
            DeadlinePassed: nobody waits for it.
        """
        plan = task.plan
        if not plan.part.slice.exits:
            tell({})  # what is asked is what enters
            return
        task.deadline.check()
        with self._lock:
            line = self._lines.get(plan.line) or self._make_line(plan)
            group = line.groups.get(plan.group) or line.add(
                plan, self._tallies.find(plan.version.model, plan.version.number)
            )
            entry = Entry(task, tell, line, group)
            try:
                self._admit(entry)
            except Overloaded:
                if plan.version.is_retired and not line.is_busy:
                    self._lines.pop(plan.line, None)
                raise
            group.push(entry)
            if self._wait_s(group):
                self._changed.notify_all()
            if line.has_turn:
                return
            line.has_turn = True
            if here:
                self._ready.append(line)
                return
        self._runners.submit(self._run_line, line)

    def retire(self, version: Version, then: Callable[[], None]) -> None:
        """Forget a version that is served no more, and call `then` once nothing of it waits or runs."""
        with self._lock:
            self._retiring[version] = then
            then = self._end_retiring(version)
        then()

    def _end_retiring(self, version: Version) -> Callable[[], None]:
        """Drop what is idle of a retired version; return what is to be called without the lock."""
        lines = [(key, line) for key, line in self._lines.items() if line.version is version]
        for key, line in lines:
            if not line.is_busy:
                del self._lines[key]
        if any(line.is_busy for _, line in lines):
            return _do_nothing
        return self._retiring.pop(version, _do_nothing)

    def close(self) -> None:
        """End the threads, once what they run has ended; nothing may wait or be submitted any more."""
        self._makers.shutdown()
        self._runners.shutdown()

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits or runs."""
        with self._lock:
            queues = self._queues.values()
            return not any(queue.rows or queue.nbytes for queue in queues) and not any(
                line.is_busy for line in self._lines.values()
            )

    @property
    def is_ready(self) -> bool:
        """Whether `run_ready` has something to do."""
        return bool(self._ready)

    def run_ready(self) -> float | None:
        """Run one short batch here, if there is one; threads of their own take the long ones.

        Returns:
            In how many seconds to come again; None if nothing waits for that.
        """
        again_s = None
        for _ in range(len(self._ready)):
            line = self._ready.popleft()
            with self._lock:
                group = self._choose(line)
                if not group:
                    continue
                wait_s = self._wait_more(group)
                batch = None
                if not wait_s and group.at_best(self._tile(group)) <= _SHORT_S:
                    batch = self._take(line, group)
            if wait_s:
                self._ready.append(line)
                again_s = min(wait_s, again_s or wait_s)
            elif batch is None:
                self._runners.submit(self._run_line, line)
            else:
                if self._run(line, batch):
                    self._ready.append(line)
                return 0
        return again_s

    def _run_line(self, line: Line) -> None:
        """Run batches as long as there are some."""
        while True:
            with self._lock:
                group = self._choose(line)
                if not group:
                    return
                wait_s = self._wait_more(group)
                if wait_s:
                    self._changed.wait(wait_s)
                    continue
                batch = self._take(line, group)
            if not self._run(line, batch):
                return

    def _tile(self, group: Group) -> int:
        return group.tile(self._settings.rows)

    def _wait_more(self, group: Group) -> float:
        """Return how long a batch may wait for more rows, in seconds."""
        wait_s = self._wait_s(group)
        if not wait_s or not group.batches or group.rows >= self._tile(group):
            return 0
        first = group.first
        return max(0, wait_s - (time.monotonic_ns() - first.came_ns) / 1e9) if first else 0

    def _wait_s(self, group: Group) -> float:
        wait_us = group.version.settings.batch_wait_us
        return (self._settings.wait_us if wait_us is None else wait_us) / 1e6

    def _choose(self, line: Line) -> Group | None:
        """Return the group that is next, or take the line's turn away if nothing of it can run."""
        for group in line.waiting:
            if group.find_session():
                return group
            self._begin_making(line, group)
        line.has_turn = False
        return None

    def _begin_making(self, line: Line, group: Group) -> None:
        if not group.is_making:
            group.is_making = True
            self._makers.submit(self._make, line, group)

    def _make(self, line: Line, group: Group) -> None:
        """Make the session for a group: nobody else waits for it."""
        session, failed = None, None
        try:
            session = group.version.open(group.part, Deadline())
        except Exception as error:  # noqa: BLE001 - it is told to all who wait for the session
            failed = error
        with self._lock:
            group.is_making = False
            outcomes = [(entry, failed) for entry in group.empty()] if failed else []
            group.misses = _NEVER if failed else 0
            group.session = session if group.rows else None
            begins = group.rows > 0 and not line.has_turn
            line.has_turn = line.has_turn or begins
            self._release(outcomes)
            then = self._end_retiring(line.version) if line.version.is_retired else _do_nothing
        _tell(outcomes)
        then()
        if begins:
            self._runners.submit(self._run_line, line)

    def _take(self, line: Line, group: Group) -> Batch:
        """Return the next batch: rows that ask for the same, and others where one run is cheaper than two."""
        session = group.find_session()
        tile = self._tile(group)
        over: list[Entry] = []
        shares = group.take(tile, tile, over)
        if not group.rows:
            group.session = None
        batch = Batch(group, session, shares, over)
        if len(line.groups) > 1 and group.joins and shares:
            return self._join(line, batch, tile)
        return batch

    def _join(self, line: Line, batch: Batch, tile: int) -> Batch:
        for other in line.waiting[:_JOINED]:
            room = min(tile, self._tile(other)) - batch.rows
            if room <= 0:
                break
            if other is batch.group or not other.joins:
                continue
            joint = line.join(batch.group, other)
            rows = min(other.rows, room)
            apart_s = batch.group.timing.predict(batch.rows) + other.timing.predict(rows)
            if joint.timing.predict(batch.rows + rows) >= apart_s:
                continue
            session = joint.find_session()
            if session is None:
                joint.misses += 1
                if joint.misses >= _MISSES:
                    self._begin_making(line, joint)
                continue
            shares = other.take(room, self._tile(other), batch.over)
            batch = Batch(joint, session, [*batch.shares, *shares], batch.over)
        return batch

    def _run(self, line: Line, batch: Batch) -> bool:
        """Run a batch and tell the outcomes; return whether more of its line waits, which then keeps its turn."""
        outcomes: list[tuple[Entry, Outcome]] = [
            (entry, entry.task.deadline.refusal) for entry in batch.over if not entry.is_settled
        ]
        if batch.shares:
            outcomes += self._compute(batch)
        with self._lock:
            self._release(outcomes)
            more = any(group.rows for group in line.groups.values())
            line.has_turn = more
            then = self._end_retiring(line.version) if line.version.is_retired else _do_nothing
        _tell(outcomes)
        then()
        return more

    def _compute(self, batch: Batch) -> list[tuple[Entry, Outcome]]:
        """Return the outcomes of those that have all their rows."""
        start_ns = time.monotonic_ns()
        try:
            entries = _put_together(batch)
            ready_ns = time.monotonic_ns()
            values = _compute(batch, entries)
            computed_ns = time.monotonic_ns()
            outcomes = list(_divide(batch, _summarize(batch, values)))
        except Exception as error:  # noqa: BLE001 - one request's error must not be told to the others
            if len(batch.shares) == 1:
                return [(batch.shares[0].entry, error)]
            singles = [replace(batch, shares=[share]) for share in batch.shares]
            return [outcome for single in singles for outcome in self._compute(single)]
        end_ns = time.monotonic_ns()
        rows = batch.rows
        batch.group.timing.note(rows, (end_ns - start_ns) / 1e9)
        batch.group.tally.run(rows, ready_ns - start_ns, computed_ns - ready_ns, end_ns - computed_ns)
        _note(batch, start_ns, ready_ns - start_ns, computed_ns - ready_ns, end_ns - computed_ns)
        return outcomes

    def _make_line(self, plan: Plan) -> Line:
        line = self._lines[plan.line] = Line(plan.version)
        for key in list(self._lines)[: max(0, len(self._lines) - _LINES_REMEMBERED)]:
            if not self._lines[key].is_busy:
                del self._lines[key]
        return line

    def _admit(self, entry: Entry) -> None:
        """Count an entry, if there is room and time for it."""
        plan, most = entry.task.plan, self._settings
        queue = self._queues.get(plan.version.model)
        if queue is None:
            queue = self._queues[plan.version.model] = _Queue()
        if queue.rows:
            self._check_room(queue, entry)
        group = entry.group
        entry.predicted_s = group.predict_share(plan.rows, group.tile(most.rows))
        queue.rows += plan.rows
        queue.nbytes += plan.entry_bytes
        group.tally.enter(plan.rows, plan.entry_bytes)
        entry.line.enter(entry)

    def _check_room(self, queue: _Queue, entry: Entry) -> None:
        task, most = entry.task, self._settings
        plan = task.plan
        ahead_s = entry.line.ahead_s(task.priority)
        if queue.rows + plan.rows > most.queue_rows or queue.nbytes + plan.entry_bytes > most.queue_bytes:
            raise Overloaded(
                f"model {plan.version.model}: expected at most {most.queue_rows} rows and {most.queue_bytes} bytes to "
                f"wait, received {plan.rows} rows behind {queue.rows} of {queue.nbytes} bytes",
                ahead_s,
            )
        remaining_s = task.deadline.remaining_s
        if not ahead_s or remaining_s is None:
            return
        needed_s = ahead_s * _MARGIN + entry.group.timing.predict(plan.rows)
        if needed_s > remaining_s:
            raise Overloaded(
                f"model {plan.version.model}: the answer would take {needed_s:.3f} s behind those that wait, "
                f"the caller waits {remaining_s:.3f} s",
                ahead_s,
                "deadline",
            )

    def _release(self, outcomes: Sequence[tuple[Entry, Outcome]]) -> None:
        for entry, _ in outcomes:
            entry.is_settled = True
            plan = entry.task.plan
            queue = self._queues[plan.version.model]
            queue.rows -= plan.rows
            queue.nbytes -= plan.entry_bytes
            entry.group.tally.leave(plan.rows, plan.entry_bytes)
            entry.line.leave(entry)


def _tell(outcomes: Sequence[tuple[Entry, Outcome]]) -> None:
    for entry, outcome in outcomes:
        try:
            entry.tell(outcome)
        except Exception:
            log.exception("an outcome could not be told")


def _do_nothing() -> None:
    pass


def _put_together(batch: Batch) -> Mapping[str, Array]:
    """Return what enters a run."""
    shares = batch.shares
    if len(shares) == 1 and shares[0].is_whole:
        return shares[0].entry.task.entries
    return {name: np.concatenate([_cut(share, name) for share in shares]) for name in batch.group.part.slice.entries}


def _compute(batch: Batch, entries: Mapping[str, Array]) -> dict[str, Array]:
    group, shares = batch.group, batch.shares
    # On a device, the figures of a reduction are all that leaves it.
    figures = group.figures if group.version.has_device else {}
    computed = group.version.compute(batch.session, group.part, entries, figures)
    is_one = len(shares) == 1 and shares[0].is_whole
    if not is_one and any(len(value) != batch.rows for value in computed.values()):
        raise RuntimeError(f"model {group.version.model}: expected {batch.rows} rows of each exit")
    return computed


def _summarize(batch: Batch, values: dict[str, Array]) -> dict[str, Array]:
    """Return what has left a run, of some exits only the figures of a reduction."""
    group = batch.group
    if not group.figures or group.version.has_device:
        return values
    return group.version.summarize(values, group.figures)


def _note(batch: Batch, start_ns: int, input_ns: int, infer_ns: int, output_ns: int) -> None:
    """Note how long a run took for each request that it was for."""
    for entry, start, _ in batch.shares:
        task = entry.task
        if start == 0:
            task.queue_ns = start_ns - entry.came_ns
        task.input_ns += input_ns
        task.infer_ns += infer_ns
        task.output_ns += output_ns
        if task.trace:
            task.trace.note_run(start_ns, start_ns + input_ns + infer_ns)


def _cut(share: Share, name: str) -> Array:
    rows = share.entry.task.entries[name]
    return rows if share.is_whole else rows[share.start : share.stop]


def _divide(batch: Batch, computed: dict[str, Array]) -> Iterator[tuple[Entry, Outcome]]:
    """Give each entry its rows, and return those that have all of theirs."""
    if len(batch.shares) == 1 and batch.shares[0].is_whole and batch.shares[0].entry.group is batch.group:
        yield batch.shares[0].entry, computed
        return
    start = 0
    for share in batch.shares:
        stop = start + share.stop - share.start
        asked = share.entry.group
        values = {name: value[start:stop] for name, value in computed.items() if name in asked.part.slice.exits}
        if asked is not batch.group:
            values = asked.version.summarize(values, asked.figures)
        whole = values if share.is_whole else share.entry.collect(share, values)
        if whole is not None:
            yield share.entry, whole
        start = stop
