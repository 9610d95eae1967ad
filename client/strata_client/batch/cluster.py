"""Does the parts of a job on a Ray cluster.

Ray Data is the whole of it: it starts actors where there is room, hands each a part at a time, and does a part again
whose node was lost. A part appears in its place whole or not at all, so a part that was done twice is there once.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from strata_client.batch.access import Access
from strata_client.batch.blocks import Part
from strata_client.batch.errors import JobFailed
from strata_client.batch.rows import Row, Source, Span
from strata_client.batch.summary import Summary
from strata_client.batch.work import Work, do_parts, mend_part, opened
from strata_client.errors import MissingExtra


@dataclass(frozen=True)
class Cluster:
    """Where Ray runs."""

    address: str = ""
    """As `ray.init` takes it; empty for a cluster of this machine alone, which ends with the job."""
    actors: int = 0
    """How many parts are done at the same time; 0 for one on each CPU."""


class PartWorker:
    """Does one part after another; Ray makes one for each actor."""

    def __init__(self, access: Access, work: Work) -> None:
        # Ray ends the process of an actor, and with it what was opened here.
        self._shop = contextlib.ExitStack().enter_context(opened(access, work))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Do the part of a batch of one row, as Ray Data calls it; return what came of it, pickled."""
        tasks = zip(batch["part"], batch["span"], strict=True)
        return {"summary": [pickle.dumps(self._do(int(number), _unpack(span))) for number, span in tasks]}

    def _do(self, number: int, span: Span) -> Summary:
        part, summary = self._shop.layout.part(number), Summary()

        def read(start: int, stop: int) -> Iterator[Row]:
            return islice(span.read(), start - part.start, stop - part.start)

        found = self._shop.format.find(self._shop.place, part)
        if found is None:
            for _ in do_parts(self._shop, [part], read, summary.count):
                pass
        elif found.failed:  # of an earlier run, or of this one before its node was lost
            mend_part(self._shop, part, read, summary.count)
        return summary


def do_on_cluster(
    cluster: Cluster, access: Access, work: Work, parts: Sequence[Part], source: Source
) -> Iterator[Summary]:
    """Do parts on a cluster, those that are missing and those with rows that failed; return what came of each.

    Raises:
        JobFailed: a part could not be done.
        MissingExtra: Ray is not installed.
    """
    if not parts:
        return
    with _connected(cluster) as ray:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        actors = min(cluster.actors or max(1, int(ray.cluster_resources().get("CPU", 1))), len(parts))
        items = [{"part": part.number, "span": _pack(source.span(part.start, part.stop))} for part in parts]
        done = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            PartWorker,
            fn_constructor_args=[access, work],
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=actors),
        )
        try:
            for row in done.iter_rows():
                yield pickle.loads(row["summary"])  # noqa: S301 - made by our own actors
        except ray.exceptions.RayError as error:
            raise JobFailed(_explain(error)) from error


@contextlib.contextmanager
def _connected(cluster: Cluster) -> Iterator[Any]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # what a user computes is nobody else's business
    try:
        import ray  # noqa: PLC0415 - an extra, which takes seconds to import
        import ray.data  # noqa: PLC0415 - the same
    except ModuleNotFoundError as error:
        raise MissingExtra("ray", "ray") from error
    try:
        ray.init(address=cluster.address or "local", log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError as error:
        raise JobFailed(f"no Ray cluster answers at {cluster.address}: {error}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _pack(span: Span) -> bytes:
    """Return a span as bytes: paths beneath one folder have much in common."""
    return zlib.compress(pickle.dumps(span))


def _unpack(data: bytes) -> Span:
    span: Span = pickle.loads(zlib.decompress(data))  # noqa: S301 - made by `_pack` in the process that began the job
    return span


def _explain(error: Exception) -> str:
    """Return what an actor raised, without the way that it took through Ray."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return str(cause).strip().splitlines()[-1]
