"""Does the parts of a job on a Ray cluster.

Ray Data is the whole of it: it starts actors where there is room, hands each a part at a time, and does a part again
whose node was lost. A part appears in its place whole or not at all, so a part that was done twice is there once.

What must stop a job is no exception to Ray, which would log it at length: an actor returns it as what came of a part.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import pickle
import socket
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from strata_client.batch.access import Access
from strata_client.batch.blocks import Part
from strata_client.batch.errors import JobFailed
from strata_client.batch.rows import Row, Source, Span
from strata_client.batch.summary import Summary
from strata_client.batch.work import Work, Workshop, do_parts, mend_part, opened
from strata_client.errors import InvalidArgument, MissingExtra, StrataError

_logger = logging.getLogger(__name__)

_ASKING_CPUS = 0.5  # who asks waits for servers most of the time; after a node was lost, the others have room for all
_RUNNING_CPUS = 1.0
_CONNECT_S = 10.0
_STORE_BYTES = 256 * 2**20  # of a cluster for this job alone: lists of paths lie there, no pictures and no tensors


@dataclass(frozen=True)
class Cluster:
    """Where Ray runs."""

    address: str = ""
    """`HOST:PORT`, or `auto` for the one of this machine; empty for a new one on it, which ends with the job."""
    actors: int = 0
    """How many parts are done at the same time; 0 for one on each CPU."""


@dataclass(frozen=True)
class Task:
    """A part to be done."""

    part: Part
    rows: int
    """Of the part, those that nobody has an answer for."""


class PartWorker:
    """Does one part after another; Ray makes one for each actor.

    Args:
        access: to the model.
        work: what the parts are of.
        folder: that relative paths begin in; a node that lacks it can do without, where all paths are absolute.
    """

    def __init__(self, access: Access, work: Work, folder: str) -> None:
        self._access = replace(access, threads=1)  # each CPU of a node has its actor
        self._work = work
        self._folder = folder
        self._stack = contextlib.ExitStack()  # nothing leaves it: Ray ends the process of an actor

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Do the parts of a batch, as Ray Data calls it; return what came of each, pickled."""
        tasks = zip(batch["part"], batch["rows"], batch["span"], strict=True)
        done = [self._try(int(number), int(rows), _unpack(span)) for number, rows, span in tasks]
        return {"outcome": [pickle.dumps(each) for each in done]}

    @functools.cached_property
    def _shop(self) -> Workshop:
        with contextlib.suppress(OSError):
            os.chdir(self._folder)
        return self._stack.enter_context(opened(self._access, self._work))

    def _try(self, number: int, rows: int, span: Span) -> Summary | OSError | str:
        """Return the summary, or why there is none: an error as text where it may not survive pickling."""
        node = socket.gethostname()
        try:
            return self._do(number, rows, span)
        except OSError as error:
            return OSError(error.errno, f"{error.strerror or error} (on {node})", error.filename)
        except StrataError as error:
            return f"{error} (on {node})"
        except Exception as error:
            _logger.exception("part %d", number)  # Ray keeps it in the log of the actor
            return f"{type(error).__name__}: {error} (on {node})"

    def _do(self, number: int, rows: int, span: Span) -> Summary:
        part, summary = self._shop.layout.part(number), Summary()

        def read(start: int, stop: int) -> Iterator[Row]:
            return islice(span.read(), start - part.start, stop - part.start)

        found = self._shop.format.find(self._shop.place, part)
        if found is None:
            do_parts(self._shop, [part], read, summary.count)
        elif found.failed:  # of an earlier run, or of this one before its node was lost
            mend_part(self._shop, part, read, summary.count)
        summary.asked = rows  # more than now, where a lost node had done some of them
        return summary


def do_on_cluster(
    cluster: Cluster, access: Access, work: Work, tasks: Sequence[Task], source: Source
) -> Iterator[Summary]:
    """Do parts on a cluster, those that are missing and those with rows that failed; return what came of each.

    Paths and URLs of the source, the result and the artifact must mean the same on every node.

    Raises:
        InvalidArgument: the address is none that Ray Data works with.
        JobFailed: there is no cluster, or a part could not be done.
        MissingExtra: Ray is not installed.
        OSError: a node cannot read the source, or write to the place.
    """
    if not tasks:
        return
    with _connected(cluster) as ray:
        actors = cluster.actors or max(1, int(ray.cluster_resources().get("CPU", 1)))
        items = [_describe(task, source) for task in tasks]
        done = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            PartWorker,
            fn_constructor_args=[access, work, str(Path.cwd())],
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(actors, len(items)), max_tasks_in_flight_per_actor=1),
            num_cpus=_RUNNING_CPUS if access.artifact else _ASKING_CPUS,
        )
        del items  # Ray has them
        yield from _take(ray, done)


def _describe(task: Task, source: Source) -> dict[str, Any]:
    """Return what `PartWorker` gets of a part."""
    span = source.span(task.part.start, task.part.stop)
    return {"part": task.part.number, "rows": task.rows, "span": _pack(span)}


def _take(ray: Any, done: Any) -> Iterator[Summary]:
    try:
        for row in done.iter_rows():
            yield _open_outcome(row["outcome"])
    except ray.exceptions.RayError as error:
        raise JobFailed(_shorten(error)) from error


def _open_outcome(data: bytes) -> Summary:
    outcome = pickle.loads(data)  # noqa: S301 - made by our own actors
    if isinstance(outcome, OSError):
        raise outcome
    if isinstance(outcome, str):
        raise JobFailed(outcome)
    summary: Summary = outcome
    return summary


@contextlib.contextmanager
def _connected(cluster: Cluster) -> Iterator[Any]:
    _check_address(cluster.address)
    own = {} if cluster.address else {"include_dashboard": False, "object_store_memory": _STORE_BYTES}
    with _unsaid():
        ray = _import_ray()
        try:
            with _muted():
                ray.init(cluster.address or "local", log_to_driver=False, logging_level=logging.CRITICAL, **own)
        except (OSError, RuntimeError, ValueError) as error:
            where = f"the Ray cluster at {cluster.address}" if cluster.address else "a Ray cluster of this machine"
            raise JobFailed(f"{where} cannot be used: {_shorten(error)}") from error
        try:
            _quieten(ray)
            yield ray
        finally:
            ray.shutdown()


def _check_address(address: str) -> None:
    """See to it that something listens there: Ray itself goes on asking for a quarter of an hour."""
    host, _, port = address.rpartition(":")
    if address in ("", "auto"):
        return
    if "/" in address or not host or not port.isdecimal():
        raise InvalidArgument(
            f"Ray cluster: expected HOST:PORT, or auto for that of this machine; received {address!r}"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise JobFailed(f"no Ray cluster answers at {address}: {error}") from error


def _import_ray() -> Any:
    # What a user computes is nobody else's business, and what Ray's core notes is none of a user's.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray  # noqa: PLC0415 - an extra, which takes seconds to import
        import ray.data  # noqa: PLC0415 - the same
    except ModuleNotFoundError as error:
        raise MissingExtra("ray", error.name or "ray") from error
    return ray


@contextlib.contextmanager
def _unsaid() -> Iterator[None]:
    """Keep to itself what Ray prints on standard output, where scripts read, and warns of in its own code."""
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        warnings.catch_warnings(action="ignore"),
    ):
        yield


@contextlib.contextmanager
def _muted() -> Iterator[None]:
    """Keep off standard error what is written there past Python: Ray's core says in a line how much it will log."""
    kept = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _quieten(ray: Any) -> None:
    """Leave the terminal to our own progress; all that Ray says stays in its log files."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = -1  # a part may take long, and who waits for a server has patience
    for name in ("ray", "ray.data"):
        for handler in logging.getLogger(name).handlers:
            if isinstance(handler, logging.StreamHandler):
                handler.setLevel(logging.CRITICAL)


def _pack(span: Span) -> bytes:
    """Return a span as bytes; Ray keeps those of all parts, in memory or on the disk, until the job ends.

    Of a folder that is 5 to 7 bytes for each picture with a number for a name, and 23 to 25 where the name is 32
    random digits; of arrays and tables it does not grow with the rows of a part.
    """
    return zlib.compress(pickle.dumps(span))


def _unpack(data: bytes) -> Span:
    span: Span = pickle.loads(zlib.decompress(data))  # noqa: S301 - made by `_pack` in the process that began the job
    return span


def _shorten(error: BaseException) -> str:
    """Return the last line of an error: the one that says what it is, where a traceback stands before it."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
