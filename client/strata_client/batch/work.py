"""Does the parts of a job that are not done, in one process: reads, asks and writes at the same time."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby, islice
from typing import TypeAlias

from strata_client.activity import Array
from strata_client.batch.access import Access
from strata_client.batch.asking import Asker
from strata_client.batch.blocks import Block, Format, Layout, Part, join
from strata_client.batch.exits import Exits
from strata_client.batch.formats import open_format
from strata_client.batch.job import Manifest
from strata_client.batch.patience import Patience
from strata_client.batch.place import Place
from strata_client.batch.room import Room
from strata_client.batch.rows import Failure, Row
from strata_client.errors import InvalidArgument


@dataclass(frozen=True)
class Work:
    """What is to be done: it can be pickled."""

    manifest: Manifest
    exits: Exits
    out: str
    """Where the result goes."""
    in_flight: int
    """Requests on their way at the same time."""
    patience_s: float


@dataclass(frozen=True)
class Workshop:
    """What it is done with, in one process."""

    manifest: Manifest
    place: Place
    format: Format
    asker: Asker
    in_flight: int

    @property
    def layout(self) -> Layout:
        """Of the result."""
        return self.manifest.layout

    @property
    def fingerprint(self) -> str:
        """Of the job."""
        return self.manifest.job.fingerprint


@contextlib.contextmanager
def opened(access: Access, work: Work) -> Iterator[Workshop]:
    """Open what a work is done with, for as long as the block lasts."""
    job, patience = work.manifest.job, Patience(work.patience_s)
    form = open_format(work.out, job.format)
    with access.open(work.in_flight) as client:
        asker = Asker(client, job.model, job.artifact, work.exits, patience)
        yield Workshop(work.manifest, form.locate(work.out), form, asker, work.in_flight)


# Of what enters, as it was read: it is held several times on its way, as rows, as a message and as bytes.
_REQUEST_BYTES = 8 * 2**20
_BYTES_IN_FLIGHT = 64 * 2**20

Rows = Callable[[int, int], Iterator[Row]]
"""Reads rows by their numbers, as `Source.read` does."""
Tell = Callable[[Block], None]
"""Told of every block that has been answered."""


def do_parts(shop: Workshop, parts: Sequence[Part], read: Rows, tell: Tell) -> None:
    """Do parts that are not there, one after another; the next is read and asked while one is written.

    Raises:
        JobFailed: no server answers, or another artifact does.
        OSError: the source cannot be read, or the place not be written.
    """
    chunks = _chunk(parts, read, shop.manifest.request_rows)
    with contextlib.closing(_ask_ahead(shop, chunks)) as answers:
        for part, group in groupby(answers, key=lambda answer: answer[0]):
            blocks = _told((block for _, block in group), tell)
            shop.format.write(shop.place, shop.layout, part, shop.fingerprint, blocks)


def mend_part(shop: Workshop, part: Part, read: Rows, tell: Tell) -> None:
    """Ask again for the rows of a part that failed, and write it anew where one of them has an answer now.

    Errors as in `do_parts`.
    """
    failed = _find_failed(shop, part)
    numbers = iter(failed)
    chunks = ((part, chunk, size) for chunk, size in _bound(_pick(read, failed), shop.manifest.request_rows))
    answers: dict[int, Block] = {}
    with contextlib.closing(_ask_ahead(shop, chunks)) as blocks:
        for block in _told((block for _, block in blocks), tell):
            answers |= {next(numbers): block.cut(at, at + 1) for at in range(len(block))}
    if all(block.failed for block in answers.values()):
        return
    rows = _replace(shop.format.read(shop.place, shop.layout, part), part.start, answers)
    shop.format.write(shop.place, shop.layout, part, shop.fingerprint, rows)


_Chunk = tuple[Part, list[Row], int]
_Answer = tuple[Part, Block]
_Ahead: TypeAlias = "queue.Queue[tuple[Part, Future[Block]] | BaseException | None]"
"""What has been handed out, in its order; last what ended the reading, or None."""


def _chunk(parts: Sequence[Part], read: Rows, rows: int) -> Iterator[_Chunk]:
    """Return what is asked at once; it begins anew with each part, so that every run asks for the same."""
    for run in _find_runs(parts):
        source = read(run[0].start, run[-1].stop)
        for part in run:
            for chunk, size in _bound(islice(source, part.rows), rows):
                yield part, chunk, size


def _bound(rows: Iterable[Row], most: int) -> Iterator[tuple[list[Row], int]]:
    """Return rows in lists, each with its bytes: not longer than `most`, nor much larger than a request should be."""
    chunk: list[Row] = []
    size = 0
    for row in rows:
        chunk.append(row)
        size += len(row.value) if isinstance(row.value, bytes) else _count_bytes(row.value)
        if len(chunk) == most or size >= _REQUEST_BYTES:
            yield chunk, size
            chunk, size = [], 0
    if chunk:
        yield chunk, size


def _count_bytes(value: Mapping[str, Array] | Failure) -> int:
    return sum(array.nbytes for array in value.values()) if isinstance(value, Mapping) else 0


def _find_runs(parts: Sequence[Part]) -> Iterator[Sequence[Part]]:
    """Return parts that follow each other: they are read as one."""
    start = 0
    for at in range(1, len(parts) + 1):
        if at == len(parts) or parts[at].start != parts[at - 1].stop:
            yield parts[start:at]
            start = at


def _ask_ahead(shop: Workshop, chunks: Iterator[_Chunk]) -> Generator[_Answer, None, None]:
    """Ask for chunks, several at a time, and return the answers in their order.

    A thread reads and hands out; who takes the answers holds it back, so that no more than what is on its way is
    ever in memory.
    """
    ahead: _Ahead = queue.Queue(shop.in_flight)
    stopped = threading.Event()
    room = Room(_BYTES_IN_FLIGHT)

    def ask(rows: list[Row], size: int) -> Block:
        try:
            return shop.asker.ask(rows, shop.layout.columns)
        finally:
            room.leave(size)

    def hand_out(askers: ThreadPoolExecutor) -> None:
        try:
            for part, rows, size in chunks:
                room.enter(size)
                if stopped.is_set():
                    return
                ahead.put((part, askers.submit(ask, rows, size)))
            ahead.put(None)
        except BaseException as error:  # noqa: BLE001 - who takes the answers raises it
            ahead.put(error)

    with ThreadPoolExecutor(shop.in_flight, thread_name_prefix="asker") as askers:
        reader = threading.Thread(target=hand_out, args=[askers], name="reader", daemon=True)
        reader.start()
        try:
            yield from _take(ahead)
        except BaseException:
            shop.asker.stop()
            raise
        finally:
            stopped.set()
            room.open()
            _drain(ahead, reader)


def _take(ahead: _Ahead) -> Iterator[_Answer]:
    while (each := ahead.get()) is not None:
        if isinstance(each, BaseException):
            raise each
        part, answer = each
        yield part, answer.result()


def _drain(ahead: _Ahead, reader: threading.Thread) -> None:
    """Let the reader end, which may wait for room."""
    while reader.is_alive() or not ahead.empty():
        try:
            each = ahead.get(timeout=0.05)
        except queue.Empty:
            continue
        if isinstance(each, tuple):
            each[1].cancel()


def _told(blocks: Iterable[Block], tell: Tell) -> Iterator[Block]:
    for block in blocks:
        tell(block)
        yield block


def _find_failed(shop: Workshop, part: Part) -> list[int]:
    """Return the numbers of the rows that failed."""
    blocks = shop.format.read(shop.place, shop.layout, part)
    failures = (failure for block in blocks for failure in block.failures)
    return [part.start + at for at, failure in enumerate(failures) if failure is not None]


def _pick(read: Rows, numbers: Sequence[int]) -> Iterator[Row]:
    """Return the rows of these numbers, which ascend."""
    wanted = set(numbers)
    for number, row in enumerate(read(numbers[0], numbers[-1] + 1), numbers[0]):
        if number in wanted:
            yield row


def _check_key(there: str, here: str) -> None:
    """Refuse a source whose files are others by now, though there are as many."""
    if there != here:
        raise InvalidArgument(
            f"the source has other rows than when the job began: {here!r} in the place of {there!r}; give it the old "
            "name, or name another place for the result"
        )


def _replace(blocks: Iterable[Block], start: int, answers: Mapping[int, Block]) -> Iterator[Block]:
    """Return blocks with other rows in the place of some, which are given by their numbers."""
    for block in blocks:
        inside = [at for at in range(len(block)) if start + at in answers]
        pieces, done = [], 0
        for at in inside:
            _check_key(block.keys[at], answers[start + at].keys[0])
            pieces += [block.cut(done, at), answers[start + at]]
            done = at + 1
        yield join([*pieces, block.cut(done, len(block))])
        start += len(block)
