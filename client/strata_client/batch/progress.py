"""How far a batch is, for whoever watches: a bar on a terminal, a line now and then anywhere else."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from strata_client.errors import MissingExtra
from strata_client.formats import format_time

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

LINE_EVERY_S = 30.0


class Progress:
    """Counts rows; threads may share it.

    Args:
        total: rows of the whole result.
        done: rows that were finished by an earlier run.
    """

    def __init__(self, total: int, done: int = 0) -> None:
        self.total = total
        self.done = done
        self.failed = 0
        self._before = done
        self._began = time.monotonic()
        self._lock = threading.Lock()

    def add(self, rows: int, failed: int) -> None:
        """Count rows that have been answered, or have failed."""
        with self._lock:
            self.done += rows
            self.failed += failed

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._began

    @property
    def rate(self) -> float:
        """Rows in a second, of this run."""
        return (self.done - self._before) / max(self.seconds, 1e-9)

    @property
    def left_s(self) -> float | None:
        """Seconds until the end at this rate; None where nothing is known."""
        return (self.total - self.done) / self.rate if self.rate else None

    def __str__(self) -> str:
        share = self.done / self.total if self.total else 1.0
        left = "" if self.left_s is None else f", {format_time(self.left_s)} left"
        return f"{self.done:,} of {self.total:,} images ({share:.0%}), {self.rate:,.0f}/s, {self.failed:,} failed{left}"


@contextmanager
def shown(progress: Progress, stream: TextIO = sys.stderr) -> Iterator[None]:
    """Show progress on a stream as long as the block lasts."""
    ended = threading.Event()
    show = _draw if stream.isatty() else _print
    thread = threading.Thread(target=show, args=[progress, stream, ended], name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _print(progress: Progress, stream: TextIO, ended: threading.Event) -> None:
    while not ended.wait(LINE_EVERY_S):
        print(progress, file=stream, flush=True)


def _draw(progress: Progress, stream: TextIO, ended: threading.Event) -> None:
    with _open_bar(stream) as bar:
        task = bar.add_task("", total=progress.total, completed=progress.done, rate="", failed="", left="")
        while True:
            over = ended.wait(0.1)
            bar.update(
                task,
                completed=progress.done,
                rate=f"{progress.rate:,.0f}/s",
                failed=f"{progress.failed:,} failed",
                left="" if progress.left_s is None else f"{format_time(progress.left_s)} left",
            )
            if over:
                return


def _open_bar(stream: TextIO) -> Bar:
    try:
        from rich.console import Console  # noqa: PLC0415 - an extra, which only a terminal needs
        from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415 - the same
    except ModuleNotFoundError as error:
        raise MissingExtra("cli", "rich") from error
    return Progress(
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} images"),
        TextColumn("{task.fields[rate]}  {task.fields[failed]}  {task.fields[left]}"),
        console=Console(file=stream),
    )
