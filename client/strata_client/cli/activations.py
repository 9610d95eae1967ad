"""`strata activations`."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from strata_client.cli import options
from strata_client.cli.help import Command
from strata_client.cli.servers import Server
from strata_client.names import escape

if TYPE_CHECKING:
    from strata_client.inspection import Inspection
    from strata_client.reductions import Reduce, Reduction


@click.command(cls=Command)
@options.file_argument
@options.layers_option(required=True, help_text="The layers wanted; an input's name is what the network saw there.")
@options.reduce_option("Send less: steps as above, for one layer or for all others. It can be given again.")
@options.option(
    "--save",
    type=click.Path(path_type=Path),
    metavar="F.npz",
    help="Write the arrays, one for each layer, for numpy.load; of top:K and labels:K also LAYER.channels.",
)
@options.option(
    "--plot",
    type=click.Path(path_type=Path),
    metavar="F.png",
    help="Draw what the network saw, its answer, and the most active channels of each layer; F.svg and F.pdf work too.",
)
@options.with_model
def activations(
    server: Server,
    model: str,
    file: str,
    names: str,
    reductions: "dict[str | None, Reduction]",
    save: Path | None,
    plot: Path | None,
    *,
    as_json: bool,
) -> None:
    """Compute what layers make of FILE.

    FILE is a PNG or JPEG picture; an .npy file with an array for the model's only input, shape (rows, ...); an
    .npz file with arrays by the names of inputs, or of layers, where the network then begins; or `-` for any of
    these on standard input. Without --save and --plot a table is printed. A channel is dead when it is 0
    everywhere for this input. A plot shows the first row.

    STEPS of --reduce are joined with `+`, in any order: `channels:A-B` and `space:A-B,C-D` keep ranges, each
    from A up to but without B; `mean`, `max` and `statistics` leave one or five numbers for each channel; `top:K`
    and `labels:K` keep the largest channels or classes, and say which they are; `half` sends float16; `none` is
    for a layer that is to be sent whole.
    """
    if plot:
        _check_plot(plot, reductions.values())
    from strata_client import inspection, sources
    from strata_client.names import split

    inspect = inspection.inspect_fully if plot else inspection.inspect
    inputs = sources.read(file)
    with server.connect() as client:
        description = client.describe(model)
        layers = split(names, {layer.name for layer in description.layers})
        inspected = inspect(client, inputs, layers, description, assign(reductions, layers))
    for path, write in ((save, _save), (plot, _draw)):
        if path:
            write(inspected, file, path)
    if as_json:
        from strata_client import documents

        figures = documents.describe_activations(file, inspected)
        documents.show(figures | {"save": save and str(save), "plot": plot and str(plot)})
    elif save or plot:
        for path in filter(None, (save, plot)):
            click.echo(escape(str(path)))
    else:
        from strata_client import tables

        tables.show_activations(tables.open_screen(), inspected)


def assign(reductions: "Mapping[str | None, Reduction]", layers: Sequence[str]) -> "Reduce":
    """Return what the client takes, with a layer that is not asked as wrong usage."""
    others = reductions.get(None)
    named = {layer: reduction for layer, reduction in reductions.items() if layer is not None}
    for layer in named:
        if layer not in layers:
            raise click.BadParameter(f"{escape(layer)} is none of --layers", param_hint="--reduce")
    if not named:
        return others or "none"
    return {layer: others for layer in layers if others} | named


def _check_plot(path: Path, reductions: "Iterable[Reduction]") -> None:
    """Refuse what cannot be drawn before a server is asked."""
    for one in reductions:
        # Its channels would not be those of the layer, by whose numbers a plot names them.
        if one.channels or one.statistics or one.top_channels or one.top_labels:
            raise click.BadParameter(
                f"a plot can be drawn of mean, max, space:A-B,C-D and half; received {one}", param_hint="--reduce"
            )
    from strata_client.plots import FORMATS

    if path.suffix.removeprefix(".").lower() not in FORMATS:
        endings = ", ".join(f".{ending}" for ending in FORMATS)
        raise click.BadParameter(
            f"expected a file that ends in one of {endings}; received {escape(path.name)}",
            param_hint="--plot",
        )


def _save(inspected: "Inspection", _file: str, path: Path) -> None:
    from strata_client import archives

    archives.save(archives.name_arrays(inspected.activations), path)


def _draw(inspected: "Inspection", file: str, path: Path) -> None:
    from strata_client import plots

    figure = plots.draw(
        inspected.activations,
        description=inspected.description,
        seen=inspected.seen,
        prediction=inspected.prediction,
        source="standard input" if file == "-" else file,
        reductions=inspected.reductions,
    )
    plots.save(figure, path)
