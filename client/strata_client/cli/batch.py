"""`strata batch`."""

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import click

from strata_client.cli import exits, options
from strata_client.cli.activations import assign
from strata_client.cli.exits import ExitCode
from strata_client.cli.help import Command
from strata_client.cli.servers import Server
from strata_client.errors import InvalidArgument, StrataError
from strata_client.formats import format_size, format_time
from strata_client.names import escape, split

if TYPE_CHECKING:
    from strata_client.batch.access import Access
    from strata_client.batch.cluster import Cluster
    from strata_client.batch.progress import Progress
    from strata_client.batch.run import Batch
    from strata_client.batch.summary import Summary
    from strata_client.catalog import Description
    from strata_client.reductions import Reduce, Reduction

_GIB = 2**30
# Sections of the help.
_SOURCE = "Source"
_WORK = "Work"


def _number(
    name: str, default: int, text: str, most: int | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return an option of the work that is a number from 1; a default of 0 leaves it to the command."""
    return options.option(
        name,
        default=default,
        show_default=str(default) if default else False,
        type=click.IntRange(min(default, 1), most),
        metavar="N",
        help=text,
        section=_WORK,
    )


@click.command(cls=Command)
@click.argument("source", metavar="SOURCE", type=click.Path(allow_dash=True))
@options.option(
    "--out",
    required=True,
    metavar="DEST",
    type=click.Path(),
    help="Where the result goes; the same DEST goes on with a job.",
)
@options.layers_option(required=False, help_text="The layers wanted, a column each; without, label and score alone.")
@options.reduce_option("Keep less: steps as of `strata activations`, for one layer or for all others.")
@options.option("--format", "form", type=click.Choice(["parquet", "npz", "zarr"]), help="Else by the ending of DEST.")
@options.option("--yes", is_flag=True, help="Do not ask, however large the result will be.")
@options.option(
    "--ask-above",
    default=10.0,
    show_default="10",
    type=options.Number(0),
    metavar="GIB",
    help="Ask before a result that is larger.",
)
@options.option("--image-column", default="", metavar="NAME", help="Where Parquet has several.", section=_SOURCE)
@options.option("--key-column", default="", metavar="NAME", help="What names its rows, else numbers.", section=_SOURCE)
@options.option("--accept-source", is_flag=True, help="Go on although files of it have changed.", section=_SOURCE)
@_number("--in-flight", 8, "Requests on their way at a time.", most=256)
@_number("--request-rows", 0, "Rows of a request; else as many as suit.")
@_number("--part-rows", 0, "Rows of a part, which a crash costs at most; else as many as suit.")
@options.option(
    "--patience",
    "patience_s",
    default=300.0,
    show_default="300",
    type=options.Number(0),
    metavar="SECONDS",
    help="How long to go on when no server answers.",
    section=_WORK,
)
@options.option(
    "--artifact",
    default="",
    metavar="FILE",
    type=click.Path(),
    help="Run its slices in the process itself; no server is asked.",
    section=_WORK,
)
@options.option(
    "--engine",
    default="local",
    type=click.Choice(["local", "ray"]),
    show_default="local",
    help="Who does the parts.",
    section=_WORK,
)
@options.option(
    "--ray-address", default="", metavar="ADDRESS", help="HOST:PORT or auto; else a new cluster here.", section=_WORK
)
@_number("--ray-actors", 0, "Parts at a time; else one on each CPU.")
@options.with_model
@click.pass_context
def batch(  # noqa: PLR0913 - one for each option
    ctx: click.Context,
    /,
    *,
    server: Server,
    model: str,
    source: str,
    out: str,
    names: str | None,
    reductions: "dict[str | None, Reduction]",
    form: str | None,
    yes: bool,
    ask_above: float,
    artifact: str,
    engine: str,
    ray_address: str,
    ray_actors: int,
    as_json: bool,
    **settings: Any,
) -> None:
    """Put every row of SOURCE through a network.

    SOURCE is a folder of pictures, a glob, a file that lists them (.txt, or `-`), a tar, an .npz or .npy file,
    Parquet with a column of pictures, or any of these at a URL that fsspec knows. What comes of it is a table at
    DEST, with a row for each of SOURCE: key, label, score, error_code, error, and a tensor for each layer. DEST is a
    folder of Parquet files, one .npz file, or a Zarr group.

    A row that cannot be answered says why, and is no reason to end. The same command, given again after a crash,
    goes on where it was, and asks again for the rows that failed. The exit code is 0 when all rows have answers, 3
    when some have none, and 1 when the job could not be finished.
    """
    from strata_client.batch.access import Access
    from strata_client.batch.cluster import Cluster
    from strata_client.batch.run import Order, prepared

    if not out:
        raise click.BadParameter("expected a path or URL; received none", param_hint="--out")
    access = Access(artifact=artifact) if artifact else Access(server.addresses, options=server.settings())
    cluster = Cluster(ray_address, ray_actors) if engine == "ray" else None
    with _as_failure(), ExitStack() as stack:
        description = access.describe(model)
        layers, reduce = _choose(description, names, reductions)
        order = Order(source, out, layers, reduce, form or "", **settings)
        job = stack.enter_context(prepared(order, access, description))
        _announce(job, ask_above * _GIB, yes=yes)
        summary, seconds = _run(job, access, cluster)
    _show(job, summary, seconds, as_json=as_json)
    ctx.exit(ExitCode.PARTLY if summary.failed else ExitCode.DONE)


@contextmanager
def _as_failure() -> Iterator[None]:
    """Tell whatever ends a job as its failure, one that may pass too: the same command goes on with the job."""
    from strata_client.batch.errors import JobFailed

    try:
        yield
    except StrataError as error:
        if exits.may_pass(error):
            raise JobFailed(str(error)) from error
        raise
    except KeyboardInterrupt:
        click.echo("strata: stopped; the same command goes on from here", err=True)
        raise


def _choose(
    description: "Description", names: str | None, reductions: "dict[str | None, Reduction]"
) -> "tuple[tuple[str, ...], Reduce]":
    if not names:
        if reductions:
            raise click.UsageError("--reduce: expected --layers, whose activations it reduces")
        return (), "none"
    layers = split(names, {layer.name for layer in description.layers})
    return tuple(layers), assign(reductions, layers)


def _announce(job: "Batch", limit: float, *, yes: bool) -> None:
    """Say how large the result will be, and ask where that is much, or more than there is room for."""
    layout, out = job.layout, job.order.out
    size = f"{layout.rows:,} rows of {format_size(job.row_bytes)}, {format_size(job.bytes)}"
    parts = f"{_count_parts(layout.part_count)}{_tell_skipped(job)}"
    click.echo(escape(f"{job.manifest.job.model} to {out}: {size} in {parts}"), err=True)
    room = shutil.disk_usage(job.place.folder).free if job.place.folder else None
    is_tight = room is not None and job.most_bytes > room
    if job.there or yes or not (is_tight or job.bytes > limit):
        return
    why = f"only {format_size(room or 0)} are free" if is_tight else f"that is more than {format_size(limit)}"
    if not sys.stdin.isatty():
        raise InvalidArgument(f"{out}: {why}: give --yes to go on, or --reduce to keep less")
    if not _confirm(f"{why}; go on?"):
        raise InvalidArgument(f"{out}: not begun, as the answer was no")


def _confirm(question: str) -> bool:
    try:
        return click.confirm(question, err=True)
    except click.Abort as error:  # Ctrl-C, or nobody who could answer
        raise KeyboardInterrupt from error


def _count_parts(count: int) -> str:
    return f"{count:,} part{'' if count == 1 else 's'}"


def _tell_skipped(job: "Batch") -> str:
    from strata_client.batch.sources.patterns import describe_skipped

    left_out = describe_skipped(job.source.skipped)
    return f"; left out: {left_out}" if left_out else ""


def _run(job: "Batch", access: "Access", cluster: "Cluster | None") -> "tuple[Summary, float]":
    from strata_client.batch.progress import shown
    from strata_client.batch.run import run

    with ExitStack() as stack:
        counted: list[Progress] = []

        def watch(progress: "Progress") -> None:
            counted.append(progress)
            stack.enter_context(shown(progress))

        summary = run(job, access, cluster, watch)
    return summary, counted[0].seconds


def _show(job: "Batch", summary: "Summary", seconds: float, *, as_json: bool) -> None:
    layout, out = job.layout, job.order.out
    if as_json:
        from strata_client import documents

        click.echo(
            documents.write(
                {
                    "out": out,
                    "fingerprint": job.manifest.job.fingerprint,
                    "rows": layout.rows,
                    "parts": layout.part_count,
                    "asked": summary.asked,
                    "failed": summary.failed,
                    "codes": dict(summary.codes),
                    "seconds": seconds,
                }
            )
        )
        return
    rate = summary.asked / seconds if seconds else 0
    click.echo(f"{escape(out)}: {layout.rows:,} rows in {_count_parts(layout.part_count)}")
    click.echo(
        f"asked for {summary.asked:,} in {format_time(seconds)}, {rate:,.0f}/s; {summary.failed:,} failed"
        if summary.asked
        else "nothing was left to do"
    )
    for code, count in summary.codes.most_common():
        key, reason = summary.examples[code]
        click.echo(escape(f"{count:,} {code}, such as {key}: {reason}"))
