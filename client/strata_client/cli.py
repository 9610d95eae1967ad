"""The command strata."""

import io
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strata_client.errors import InvalidArgument, ResourceExhausted, StrataError
from strata_client.names import escape

try:
    import click
except ModuleNotFoundError:
    sys.exit("strata: click is not installed: pip install 'strata-client[cli]'")

if TYPE_CHECKING:
    from strata_client._sync import Client
    from strata_client.inspection import Inspection
    from strata_client.predictions import Predictions
    from strata_client.reductions import Reduce, Reduction

_Command = Callable[..., None]


class Refusal(click.ClickException):
    """What a user is told when there is no answer: one line, and exit code 1."""

    exit_code = 1

    def show(self, file: Any = None) -> None:
        """Print the line."""
        click.echo(f"strata: {self.message}", err=True, file=file)


class Commands(click.Group):
    """Turns whatever a user can cause into one line: no traceback for a missing file or a wrong name."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click passes it
        """Return the commands in the order one needs them."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # the reader has seen enough, and click ends quietly
        except (StrataError, OSError) as error:
            raise Refusal(explain(error)) from error


def explain(error: Exception) -> str:
    """Return one line that says what went wrong."""
    if isinstance(error, OSError) and error.filename is not None:
        return escape(f"{error.filename}: {error.strerror}")
    return escape(str(error))


_SERVER = click.option(
    "--server",
    default="localhost:8001",
    envvar="STRATA_SERVER",
    show_default=True,
    show_envvar=True,
    metavar="HOST:PORT",
    help="The server's gRPC port.",
)
_MODEL = click.option(
    "--model",
    default="",
    metavar="NAME[:VERSION]",
    help="The model; not needed where there is one. VERSION is a number or a label; without it, the newest.",
)
_TIMEOUT = click.option(
    "--timeout",
    "timeout_s",
    default=30.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Longest wait for an answer.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document, for machines.")


def with_options(command: _Command) -> _Command:
    """Add what every command about one model takes."""
    return _SERVER(_MODEL(_TIMEOUT(_JSON(command))))


def with_models(command: _Command) -> _Command:
    """Add what a command takes that names its models otherwise."""
    return _SERVER(_TIMEOUT(_JSON(command)))


def _check_names(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    """Refuse what holds no name; which names there are is known when the model is described."""
    if value is not None and not value.strip(", "):
        raise click.BadParameter("expected the names of layers, with commas between them")
    return value


def _parse_reductions(
    _context: click.Context, _option: click.Parameter, values: tuple[str, ...]
) -> "dict[str | None, Reduction]":
    """Return the reductions by layer; that of no layer is for all others."""
    from strata_client import reductions

    steps: dict[str | None, list[str]] = {}
    for value in values:
        # A layer's name may hold anything; steps hold no `=`, so the last one stands before them.
        layer, equals, text = value.rpartition("=")
        steps.setdefault(layer if equals else None, []).append(text)
    try:
        return {layer: reductions.parse("+".join(texts)) for layer, texts in steps.items()}
    except InvalidArgument as error:
        raise click.BadParameter(explain(error)) from error


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="For example: strata activations seven.png --layers conv1,pool1 --plot out.png",
)
@click.version_option(package_name="strata-client", prog_name="strata")
def main() -> None:
    """Ask a Strata server for predictions, and for what any layer of a network computes."""
    # A name may hold letters that the locale cannot print: they are escaped, and no reason to end.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@main.command()
@with_options
def models(server: str, model: str, timeout_s: float, *, as_json: bool) -> None:
    """List the models that are served, and their versions."""
    with _connect(server, timeout_s) as client:
        served = [one for one in client.models() if model in {"", one.name, f"{one.name}:{one.version}"}]
        if model and not served:
            client.describe(model)  # which says that there is none, and what the nearest names are
    if as_json:
        _print_json({"models": [vars(one) for one in served]})
        return
    from strata_client import tables

    tables.show_models(tables.open_screen(), served)


@main.command()
@click.argument("name", default="", metavar="[MODEL]")
@with_options
def layers(server: str, model: str, timeout_s: float, name: str, *, as_json: bool) -> None:
    """List the layers of MODEL.

    MODEL is NAME or NAME:VERSION, and is not needed where there is one. A layer's shape is that of its
    activation for one input, without the batch. Parameters and multiply-adds are of that layer alone.
    """
    if name and model and name != model:
        raise click.UsageError(f"two models: {escape(name)} and --model {escape(model)}")
    with _connect(server, timeout_s) as client:
        description = client.describe(name or model)
    if as_json:
        from strata_client import documents

        _print_json(documents.describe(description))
        return
    from strata_client import tables

    tables.show_layers(tables.open_screen(), description)


@main.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--top", default=5, show_default=True, type=click.IntRange(1, 2**31 - 1), help="Labels for each file.")
@with_options
@click.pass_context
def predict(
    ctx: click.Context,
    server: str,
    model: str,
    timeout_s: float,
    files: tuple[str, ...],
    top: int,
    *,
    as_json: bool,
) -> None:
    """Say what each FILE shows.

    FILE is a PNG or JPEG picture; an .npy file with an array for the model's only input, shape (rows, ...); an
    .npz file with arrays by the names of inputs, or of layers, where the network then begins; or `-` for any of
    these on standard input. One that cannot be read or understood is named on standard error, the others are
    answered all the same, and the exit code is 1.
    """
    with _connect(server, timeout_s) as client:
        answers = [(file, _predict(client, file, model, top)) for file in files]
    _tell_failures(answers)
    if as_json:
        from strata_client import documents

        described = [
            [documents.describe_failure(file, answer, explain(answer))]
            if isinstance(answer, Exception)
            else documents.describe_answers(file, answer)
            for file, answer in answers
        ]
        _print_json({"predictions": [one for rows in described for one in rows]})
    else:
        _show_predictions(answers)
    ctx.exit(any(isinstance(answer, Exception) for _, answer in answers))


@main.command()
@click.argument("file", metavar="FILE")
@click.option(
    "--layers",
    "names",
    required=True,
    metavar="A,B",
    callback=_check_names,
    help="The layers wanted; an input's name is what the network saw there.",
)
@click.option(
    "--reduce",
    "reductions",
    multiple=True,
    metavar="[LAYER=]STEPS",
    callback=_parse_reductions,
    help="Send less: steps as above, for one layer or for all others. It can be given again.",
)
@click.option(
    "--save",
    type=click.Path(path_type=Path),
    metavar="F.npz",
    help="Write the arrays, one for each layer, for numpy.load; of top:K and labels:K also LAYER.channels.",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    metavar="F.png",
    help="Draw what the network saw, its answer, and the most active channels of each layer; F.svg and F.pdf work too.",
)
@with_options
def activations(  # noqa: PLR0913 - one for each option
    server: str,
    model: str,
    timeout_s: float,
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
    with _connect(server, timeout_s) as client:
        description = client.describe(model)
        layers = split(names, {layer.name for layer in description.layers})
        inspected = inspect(client, inputs, layers, description, _assign(reductions, layers))
    if save:
        from strata_client import archives

        archives.save(archives.name_arrays(inspected.activations), save)
    if plot:
        _draw(inspected, file, plot)
    if as_json:
        from strata_client import documents

        figures = documents.describe_activations(file, inspected)
        _print_json(figures | {"save": save and str(save), "plot": plot and str(plot)})
    elif save or plot:
        for path in filter(None, (save, plot)):
            click.echo(escape(str(path)))
    else:
        from strata_client import tables

        tables.show_activations(tables.open_screen(), inspected)


@main.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option(
    "--layers",
    "names",
    metavar="A,B",
    callback=_check_names,
    help="The only layers to compare; else all that both have with the same name and shape.",
)
@click.option(
    "--tolerance",
    default=1e-3,
    show_default=True,
    type=click.FloatRange(min=0, max=1e300),
    metavar="SHARE",
    help="By how much of its largest magnitude in A a layer may differ.",
)
@with_models
@click.pass_context
def diff(  # noqa: PLR0913 - one for each option
    ctx: click.Context,
    server: str,
    timeout_s: float,
    a: str,
    b: str,
    sources: tuple[str, ...],
    names: str | None,
    tolerance: float,
    *,
    as_json: bool,
) -> None:
    """Compare versions A and B of a network layer by layer.

    A and B are NAME or NAME:VERSION: two versions of a model, or two models with layers of the same names. Both
    get the same inputs: SOURCE is a picture or a folder of pictures, or .npy and .npz files as `strata activations`
    takes them. Where a quantized or re-exported network goes wrong, the first layer past the tolerance says.

    A layer is past it when its largest |a - b| is more than SHARE of the largest |a|. NaN and NaN are equal; NaN
    or an infinity differs from anything else by infinity.

    The exit code is 0 when every layer could be compared and none is past the tolerance, and 1 otherwise; without
    any comparison it is 1 as well, with one line on standard error, and 2 for wrong usage.
    """
    from strata_client import sources as inputs
    from strata_client.names import split

    gathered = inputs.gather(sources)
    with _connect(server, timeout_s) as client:
        layers = split(names, {layer.name for layer in client.layers(a)}) if names else []
        differences = client.diff(a, b, gathered, layers=layers, tolerance=tolerance)
    if as_json:
        from strata_client import documents

        _print_json(documents.describe_differences(differences))
    else:
        from strata_client import tables

        tables.show_differences(tables.open_screen(), differences)
    ctx.exit(not differences.agree)


@main.command()
@with_options
@click.pass_context
def health(ctx: click.Context, server: str, model: str, timeout_s: float, *, as_json: bool) -> None:
    """Say whether the server takes requests.

    Where --model names one, it must be served as well. The exit code is 1 if not.
    """
    with _connect(server, timeout_s) as client:
        serving = client.is_serving()
        if model:
            client.describe(model)
    if as_json:
        _print_json({"serving": serving})
    else:
        click.echo("serving" if serving else "not serving")
    ctx.exit(not serving)


def _connect(server: str, timeout_s: float) -> "Client":
    from strata_client import Client

    return Client(server, timeout_s=timeout_s)


def _predict(client: "Client", file: str, model: str, top: int) -> "Predictions | Exception":
    """Return the answer for one file, or what is wrong with that file; anything else ends the command."""
    from strata_client import sources

    try:
        return client.predict(sources.read(file), model=model, top=top)
    except (InvalidArgument, ResourceExhausted, OSError) as error:
        return error


def _tell_failures(answers: "Sequence[tuple[str, Predictions | Exception]]") -> None:
    """Say what is wrong, once for all the files of which it is the same."""
    failed: dict[str, list[str]] = {}
    for file, answer in answers:
        if isinstance(answer, Exception):
            failed.setdefault(explain(answer), []).append(escape(file))
    for text, files in failed.items():
        # The server knows no names of files, and what reads them has said which it is.
        line = text if len(files) == 1 and files[0] in text else f"{', '.join(files)}: {text}"
        click.echo(f"strata: {line}", err=True)


def _show_predictions(answers: "Sequence[tuple[str, Predictions | Exception]]") -> None:
    from strata_client import tables

    rows = [(file, answer) for file, answer in answers if not isinstance(answer, Exception)]
    if rows:
        tables.show_predictions(tables.open_screen(), rows)


def _assign(reductions: "Mapping[str | None, Reduction]", layers: Sequence[str]) -> "Reduce":
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


def _print_json(document: Any) -> None:
    from strata_client import documents

    click.echo(documents.write(document))
