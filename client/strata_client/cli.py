"""The command strata."""

import io
import sys
from collections.abc import Callable, Sequence
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


def with_options(command: _Command) -> _Command:
    """Add what every command takes."""
    options = (
        click.option(
            "--server",
            default="localhost:8001",
            envvar="STRATA_SERVER",
            show_default=True,
            show_envvar=True,
            metavar="HOST:PORT",
            help="The server's gRPC port.",
        ),
        click.option(
            "--model",
            default="",
            metavar="NAME[:VERSION]",
            help="The model; not needed where there is one. Without a version, the newest.",
        ),
        click.option(
            "--timeout",
            "timeout_s",
            default=30.0,
            show_default=True,
            type=click.FloatRange(min=0, min_open=True),
            metavar="SECONDS",
            help="Longest wait for an answer.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON document, for machines."),
    )
    for option in reversed(options):
        command = option(command)
    return command


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

    FILE is a PNG or JPEG picture, or `-` for standard input. One that cannot be read or understood is
    named on standard error, the others are answered all the same, and the exit code is 1.
    """
    with _connect(server, timeout_s) as client:
        answers = [(file, _predict(client, file, model, top)) for file in files]
    if as_json:
        from strata_client import documents

        described = [
            documents.describe_failure(file, answer, explain(answer))
            if isinstance(answer, Exception)
            else documents.describe_answer(file, answer)
            for file, answer in answers
        ]
        _print_json({"predictions": described})
    else:
        _show_predictions(answers)
    ctx.exit(any(isinstance(answer, Exception) for _, answer in answers))


@main.command()
@click.argument("file", metavar="FILE")
@click.option(
    "--layers",
    required=True,
    metavar="A,B",
    callback=lambda _context, _option, value: _split(value),
    help="The layers wanted; an input's name is what the network saw there.",
)
@click.option(
    "--save",
    type=click.Path(path_type=Path),
    metavar="F.npz",
    help="Write the arrays, one for each layer, for numpy.load.",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    metavar="F.png",
    help="Draw what the network saw, its answer, and the most active channels of each layer; F.svg and F.pdf work too.",
)
@with_options
def activations(
    server: str,
    model: str,
    timeout_s: float,
    file: str,
    layers: list[str],
    save: Path | None,
    plot: Path | None,
    *,
    as_json: bool,
) -> None:
    """Compute what layers make of FILE.

    FILE is a PNG or JPEG picture, or `-` for standard input. Without --save and --plot a table is
    printed. A channel is dead when it is 0 everywhere for this picture.
    """
    if plot:
        _check_plot(plot)
    from strata_client import inspection

    inspect = inspection.inspect_fully if plot else inspection.inspect
    with _connect(server, timeout_s) as client:
        inspected = inspect(client, _read(file), layers, model)
    if save:
        from strata_client import archives

        archives.save(inspected.activations, save)
    if plot:
        _draw(inspected, file, plot)
    if as_json:
        from strata_client import documents

        figures = documents.describe_activations(file, inspected.description, inspected.activations)
        _print_json(figures | {"save": save and str(save), "plot": plot and str(plot)})
    elif save or plot:
        for path in filter(None, (save, plot)):
            click.echo(escape(str(path)))
    else:
        from strata_client import tables

        tables.show_activations(tables.open_screen(), inspected.description, inspected.activations)


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
    try:
        return client.predict(_read(file), model=model, top=top)
    except (InvalidArgument, ResourceExhausted, OSError) as error:
        text = explain(error)
        if escape(file) not in text:  # the server knows no names of files
            text = f"{escape(file)}: {text}"
        click.echo(f"strata: {text}", err=True)
        return error


def _read(file: str) -> str | bytes:
    """Return the path of a file, or what standard input holds: the client does the rest."""
    if file != "-":
        return file
    from strata_client._shared import MAX_MESSAGE_BYTES

    # One byte too many is enough to be refused, whatever more would come.
    return sys.stdin.buffer.read(MAX_MESSAGE_BYTES + 1)


def _show_predictions(answers: "Sequence[tuple[str, Predictions | Exception]]") -> None:
    from strata_client import tables

    rows = [(file, answer[0]) for file, answer in answers if not isinstance(answer, Exception)]
    if rows:
        tables.show_predictions(tables.open_screen(), rows)


def _split(names: str) -> list[str]:
    layers = [name.strip() for name in names.split(",") if name.strip()]
    if not layers:
        raise click.BadParameter("expected the names of layers, with commas between them")
    return layers


def _check_plot(path: Path) -> None:
    """Refuse what cannot be drawn before a server is asked."""
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
    )
    plots.save(figure, path)


def _print_json(document: Any) -> None:
    from strata_client import documents

    click.echo(documents.write(document))
