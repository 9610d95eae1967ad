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
from strata_server.errors import DeadlinePassed, Overloaded
from strata_server.lines import Batch, Entry, Group, Line, Share
from strata_server.plans import Outcome, Plan, Task
from strata_server.settings import BatchSettings
from strata_server.tensors import Array
from strata_server.timings import Timing

# A batch as short as that may run where requests are received: handing it over would take a good part of it.
_SHORT_S = 0.005
_RUNNERS = 16  # long batches of different lines at a time
_MAKERS = 2  # slices that are made at a time
_LINES_REMEMBERED = 1024
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

    def __init__(self, settings: BatchSettings) -> None:
        self._settings = settings
        self._wait_s = settings.wait_us / 1e6
        self._changed = threading.Condition()
        self._lines: OrderedDict[Hashable, Line] = OrderedDict()
        self._queues: dict[str, _Queue] = {}
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
        task.deadline.check()
        if not task.plan.part.slice.exits:
            tell({})  # what is asked is what enters
            return
        with self._changed:
            line = self._find_line(task.plan)
            group = self._find_group(line, task.plan)
            group.push(self._admit(line, group, task, tell))
            if self._wait_s:
                self._changed.notify_all()
            if line.has_turn:
                return
            line.has_turn = True
            if here:
                self._ready.append(line)
                return
        self._runners.submit(self._run_line, line)

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
            with self._changed:
                group = self._choose(line)
                if not group:
                    continue
                wait_s = self._wait_more(group)
                batch = None
                if not wait_s and group.predict(self._tile(group)) <= _SHORT_S:
                    batch = self._take(line, group)
            if wait_s:
                self._ready.append(line)
                again_s = min(wait_s, again_s or wait_s)
            elif batch is None:
                self._runners.submit(self._run_line, line)
            else:
                if self._run(batch):
                    self._ready.append(line)
                return 0
        return again_s

    def _run_line(self, line: Line) -> None:
        """Run batches as long as there are some."""
        while True:
            with self._changed:
                group = self._choose(line)
                if not group:
                    return
                wait_s = self._wait_more(group)
                if wait_s:
                    self._changed.wait(wait_s)
                    continue
                batch = self._take(line, group)
            if not self._run(batch):
                return

    def _tile(self, group: Group) -> int:
        return group.tile(self._settings.rows)

    def _wait_more(self, group: Group) -> float:
        """Return how long a batch may wait for more rows, in seconds."""
        if not self._wait_s or not group.batches or group.rows >= self._tile(group):
            return 0
        return max(0, group.waiting[0].came + self._wait_s - time.monotonic())

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
        with self._changed:
            group.is_making = False
            group.session = session if group.waiting else None
            outcomes = [(entry, failed) for entry in group.empty()] if failed else []
            begins = bool(group.waiting) and not line.has_turn
            line.has_turn = line.has_turn or begins
        self._settle(line, outcomes)
        if begins:
            self._runners.submit(self._run_line, line)

    def _take(self, line: Line, group: Group) -> Batch:
        session = group.find_session()
        tile = self._tile(group)
        over: list[Entry] = []
        shares = list(group.take(tile, tile, over))
        if not group.waiting:
            group.session = None
        return Batch(line, group, session, shares, over)

    def _run(self, batch: Batch) -> bool:
        """Run a batch and tell the outcomes; return whether more of its line waits, which then keeps its turn."""
        outcomes: list[tuple[Entry, Outcome]] = [(entry, _late()) for entry in batch.over if not entry.is_settled]
        if batch.shares:
            outcomes += self._compute(batch)
        return self._settle(batch.line, outcomes, ends_turn=True)

    def _compute(self, batch: Batch) -> list[tuple[Entry, Outcome]]:
        """Return the outcomes of those that have all their rows."""
        start = time.perf_counter()
        try:
            computed = _compute(batch)
        except Exception as error:  # noqa: BLE001 - one request's error must not be told to the others
            if len(batch.shares) == 1:
                return [(batch.shares[0].entry, error)]
            singles = [replace(batch, shares=[share]) for share in batch.shares]
            return [outcome for single in singles for outcome in self._compute(single)]
        batch.group.timing.note(batch.rows, time.perf_counter() - start)
        return list(_divide(batch, computed))

    def _settle(self, line: Line, outcomes: Sequence[tuple[Entry, Outcome]], *, ends_turn: bool = False) -> bool:
        with self._changed:
            for entry, _ in outcomes:
                self._release(line, entry)
            more = any(group.waiting for group in line.groups.values())
            if ends_turn and not more:
                line.has_turn = False
        for entry, outcome in outcomes:
            try:
                entry.tell(outcome)
            except Exception:
                log.exception("an outcome could not be told")
        return more

    def _find_line(self, plan: Plan) -> Line:
        line = self._lines.get(plan.line)
        if line is None:
            line = self._lines[plan.line] = Line()
            for key in list(self._lines)[: max(0, len(self._lines) - _LINES_REMEMBERED)]:
                if not self._lines[key].is_busy:
                    del self._lines[key]
        return line

    def _find_group(self, line: Line, plan: Plan) -> Group:
        group = line.groups.get(plan.group)
        if group is None:
            timing = Timing(plan.version.guess_row_s(plan.part))
            group = Group(plan.version, plan.part, plan.figures, plan.batches, plan.row_bytes, timing)
            line.groups[plan.group] = group
        return group

    def _admit(self, line: Line, group: Group, task: Task, tell: Callable[[Outcome], None]) -> Entry:
        plan = task.plan
        queue = self._queues.setdefault(plan.version.model, _Queue())
        ahead_s = line.ahead_s(task.priority)
        most = self._settings
        if queue.rows and (
            queue.rows + plan.rows > most.queue_rows or queue.nbytes + plan.entry_bytes > most.queue_bytes
        ):
            raise Overloaded(
                f"model {plan.version.model}: the queue is full: {queue.rows} rows of {queue.nbytes} bytes wait, "
                f"expected at most {most.queue_rows} rows of {most.queue_bytes} bytes, received {plan.rows} more",
                ahead_s,
            )
        remaining_s = task.deadline.remaining_s
        own_s = group.timing.predict(plan.rows)
        if ahead_s and remaining_s is not None and ahead_s * _MARGIN + own_s > remaining_s:
            raise Overloaded(
                f"model {plan.version.model}: the request would be answered in {ahead_s + own_s:.3f} s, "
                f"its caller waits for {remaining_s:.3f} s",
                ahead_s,
            )
        entry = Entry(task, tell, group.predict_share(plan.rows, self._tile(group)))
        queue.rows += plan.rows
        queue.nbytes += plan.entry_bytes
        line.entries += 1
        line.backlog_s[task.priority] = line.backlog_s.get(task.priority, 0) + entry.predicted_s
        return entry

    def _release(self, line: Line, entry: Entry) -> None:
        entry.is_settled = True
        plan, priority = entry.task.plan, entry.task.priority
        queue = self._queues[plan.version.model]
        queue.rows -= plan.rows
        queue.nbytes -= plan.entry_bytes
        line.backlog_s[priority] -= entry.predicted_s
        line.entries -= 1
        if not line.entries:
            line.backlog_s.clear()  # of what rounding leaves


def _late() -> DeadlinePassed:
    return DeadlinePassed("the caller no longer waited when the request's turn came; it was not run")


def _compute(batch: Batch) -> dict[str, Array]:
    group, shares = batch.group, batch.shares
    if not group.batches:
        entries = shares[0].entry.task.entries
    else:
        entries = {name: _join([_cut(share, name) for share in shares]) for name in group.part.slice.entries}
    return group.version.compute(batch.session, group.part, entries, group.figures)


def _cut(share: Share, name: str) -> Array:
    rows = share.entry.task.entries[name]
    return rows if share.is_whole else rows[share.start : share.stop]


def _join(arrays: Sequence[Array]) -> Array:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _divide(batch: Batch, computed: Mapping[str, Array]) -> Iterator[tuple[Entry, Outcome]]:
    """Give each entry its rows, and return those that have all of theirs."""
    start = 0
    for share in batch.shares:
        stop = start + share.stop - share.start
        alone = len(batch.shares) == 1
        values = {name: value if alone else value[start:stop] for name, value in computed.items()}
        whole = share.entry.collect(share, values)
        if whole is not None:
            yield share.entry, whole
        start = stop
