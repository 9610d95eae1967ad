"""A batch from its beginning to its end, however often it begins."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from strata_client.batch.access import Access
from strata_client.batch.blocks import Block, Format, Found, Layout, Part
from strata_client.batch.cluster import Cluster, Task, do_on_cluster
from strata_client.batch.errors import AnotherJob
from strata_client.batch.exits import Exits, choose_exits
from strata_client.batch.formats import open_format
from strata_client.batch.job import Manifest, check_same, describe_job, is_only_source, read_manifest, write_manifest
from strata_client.batch.layouts import choose_part_rows, choose_request_rows, lay_out
from strata_client.batch.patience import Patience
from strata_client.batch.place import Place
from strata_client.batch.probing import probe
from strata_client.batch.progress import Progress
from strata_client.batch.rows import Source
from strata_client.batch.sources import open_source
from strata_client.batch.summary import Summary
from strata_client.batch.work import Work, do_parts, mend_part, opened
from strata_client.errors import InvalidArgument
from strata_client.reductions import Reduce

if TYPE_CHECKING:
    from strata_client.catalog import Description


@dataclass(frozen=True)
class Order:
    """What is wanted."""

    source: str
    """A folder, a glob, a list, an archive, a table or a URL: see `sources.open_source`."""
    out: str
    """Where the result goes."""
    layers: tuple[str, ...] = ()
    reduce: Reduce = "none"
    format: str = ""
    """`parquet`, `npz` or `zarr`; empty for what the ending of `out` says."""
    accept_source: bool = False
    """Go on with a job although files of its source have changed."""
    image_column: str = ""
    key_column: str = ""
    part_rows: int = 0
    """Rows of a part; 0 for as many as suit."""
    request_rows: int = 0
    """Rows of a request; 0 for as many as suit."""
    in_flight: int = 8
    """Requests on their way at the same time."""
    patience_s: float = 300.0
    """How long to go on when no request at all is answered."""


@dataclass(frozen=True)
class Batch:
    """A job that is ready to be done, or to be gone on with."""

    order: Order
    manifest: Manifest
    place: Place
    format: Format
    source: Source
    exits: Exits
    there: Manifest | None
    """What stands in the place; None where nothing does."""

    @property
    def layout(self) -> Layout:
        """Of the result."""
        return self.manifest.layout

    @property
    def work(self) -> Work:
        """What is to be done, without what it is done with."""
        return Work(self.manifest, self.exits, self.order.out, self.order.in_flight, self.order.patience_s)

    @property
    def row_bytes(self) -> int:
        """About how much a row takes before it is compressed: its tensors, and some for key, label and score."""
        return self.layout.row_bytes + 64

    @property
    def bytes(self) -> int:
        """About how much the result takes before it is compressed."""
        return self.layout.rows * self.row_bytes

    @property
    def most_bytes(self) -> int:
        """About how much room there must be: of one file there are its parts as well, until it is whole."""
        return self.bytes * (2 if self.format.name == "npz" else 1)


@contextlib.contextmanager
def prepared(order: Order, access: Access, description: Description) -> Iterator[Batch]:
    """Look at the source, the model and the place, and keep others out of it as long as the block lasts.

    Nothing is written but the lock.

    Raises:
        InvalidArgument, NotFound: what is wanted cannot be had.
        AnotherJob: the place holds something else.
        ResourceExhausted: another process works there.
        OSError: the source cannot be read, or the place not be written.
    """
    exits = choose_exits(description, order.layers, order.reduce)
    form = open_format(order.out, order.format)
    place = form.locate(order.out)
    with contextlib.closing(
        open_source(order.source, image_column=order.image_column, key_column=order.key_column)
    ) as source:
        _check_free(place)
        place.make()
        with place.locked():
            place.clean()
            there = read_manifest(place)
            if there:
                manifest = _go_on(there, order, description, exits, source, form, place)
            else:
                manifest = _begin(order, access, description, exits, source, form)
            yield Batch(order, manifest, place, form, source, exits, there)


def _check_free(place: Place) -> None:
    """Refuse a place that holds what no batch has put there, before anything is."""
    others = [name for name in place.list() if not name.startswith(("_", "."))]
    if others and read_manifest(place) is None:
        raise InvalidArgument(
            f"{place.where}: expected an empty folder, or the result of this job; it holds {others[0]}"
        )


def _go_on(
    there: Manifest,
    order: Order,
    description: Description,
    exits: Exits,
    source: Source,
    form: Format,
    place: Place,
) -> Manifest:
    layout = there.layout
    if order.part_rows:
        layout = lay_out(layout.columns, source.count, order.part_rows)
    here = describe_job(description, exits, source, form.name, layout)
    manifest = replace(there, request_rows=order.request_rows or there.request_rows)
    if order.accept_source and here.source not in there.sources and is_only_source(there.job, here):
        return replace(manifest, sources=(*there.sources, here.source))
    check_same(place, there, here)
    return manifest


def _begin(
    order: Order, access: Access, description: Description, exits: Exits, source: Source, form: Format
) -> Manifest:
    columns = probe(access, description, exits, source, Patience(order.patience_s))
    layout = lay_out(columns, source.count, order.part_rows or choose_part_rows(description, columns))
    request_rows = order.request_rows or choose_request_rows(description, columns, layout)
    return Manifest(describe_job(description, exits, source, form.name, layout), layout, request_rows)


def run(batch: Batch, access: Access, cluster: Cluster | None, watch: Callable[[Progress], None]) -> Summary:
    """Do all that is left of a batch, and return what came of it.

    Args:
        batch: which one.
        access: to the model.
        cluster: where it is done; None for here.
        watch: is given what counts the rows, before the first one is asked.

    Raises:
        JobFailed: it cannot go on; what is finished stays.
        OSError: the source cannot be read, or the place not be written.
    """
    fingerprint = batch.manifest.job.fingerprint
    if batch.manifest != batch.there:
        write_manifest(batch.place, batch.manifest)
    batch.format.prepare(batch.place, batch.layout, fingerprint)
    missing, failed = find_open(batch)
    undone = sum(part.rows for part in missing) + sum(found.failed for _, found in failed)
    progress = Progress(batch.layout.rows, batch.layout.rows - undone)
    watch(progress)
    if cluster:
        tasks = [Task(part, found.failed) for part, found in failed] + [Task(part, part.rows) for part in missing]
        summary = _do_there(batch, access, cluster, tasks, progress)
    else:
        summary = _do_here(batch, access, [part for part, _ in failed], missing, progress)
    batch.format.finish(batch.place, batch.layout, fingerprint)
    return summary


def _do_here(
    batch: Batch, access: Access, failed: Sequence[Part], missing: Sequence[Part], progress: Progress
) -> Summary:
    summary = Summary()

    def tell(block: Block) -> None:
        summary.count(block)
        progress.add(len(block), block.failed)

    with opened(access, batch.work) as shop:
        for part in failed:
            mend_part(shop, part, batch.source.read, tell)
        do_parts(shop, missing, batch.source.read, tell)
    return summary


def _do_there(batch: Batch, access: Access, cluster: Cluster, tasks: Sequence[Task], progress: Progress) -> Summary:
    summary = Summary()
    for each in do_on_cluster(cluster, access, batch.work, tasks, batch.source):
        summary.add(each)
        progress.add(each.asked, each.failed)
    return summary


def find_open(batch: Batch) -> tuple[list[Part], list[tuple[Part, Found]]]:
    """Return the parts that are missing, and those with rows that failed.

    Raises:
        AnotherJob: a part of another job stands there.
        InvalidArgument: a part is damaged.
    """
    missing: list[Part] = []
    failed: list[tuple[Part, Found]] = []
    for number in range(batch.layout.part_count):
        part = batch.layout.part(number)
        found = batch.format.find(batch.place, part)
        if found is None:
            missing.append(part)
        elif found.fingerprint != batch.manifest.job.fingerprint or found.rows != part.rows:
            raise AnotherJob(f"{batch.place.where}: part {number} is not of this job: remove it")
        elif found.failed:
            failed.append((part, found))
    return missing, failed
