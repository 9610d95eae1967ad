"""`strata diff`."""

from typing import TYPE_CHECKING

import click

from strata_client.cli import options, suggestions
from strata_client.cli.exits import ExitCode
from strata_client.cli.help import Command
from strata_client.cli.servers import Server

if TYPE_CHECKING:
    from strata_client import Differences


@click.command(cls=Command)
@click.argument("a", metavar="A", shell_complete=suggestions.suggest_models)
@click.argument("b", metavar="B", shell_complete=suggestions.suggest_models)
@options.files_argument("sources", metavar="SOURCE...")
@options.layers_option(
    required=False, help_text="The only layers to compare; else all that both have with the same name and shape."
)
@options.option(
    "--tolerance",
    default=1e-3,
    show_default=True,
    type=options.Number(0, 1e300),
    metavar="SHARE",
    help="By how much of its largest magnitude in A a layer may differ.",
)
@options.with_server
@click.pass_context
def diff(
    ctx: click.Context,
    server: Server,
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
    takes them; `-` is standard input. Where a quantized or re-exported network goes wrong, the first layer past the
    tolerance says.

    A layer is past it when its largest |a - b| is more than SHARE of the largest |a|. NaN and NaN are equal; NaN
    or an infinity differs from anything else by infinity.

    The exit code is 0 when all layers are within the tolerance, 1 when one is past it, and 3 when some could not be
    compared and all others are within.
    """
    from strata_client import sources as inputs
    from strata_client.names import split

    gathered = inputs.gather(sources)
    with server.connect() as client:
        layers = split(names, {layer.name for layer in client.layers(a)}) if names else []
        differences = client.diff(a, b, gathered, layers=layers, tolerance=tolerance)
    if as_json:
        from strata_client import documents

        documents.show(documents.describe_differences(differences))
    else:
        from strata_client import tables

        tables.show_differences(tables.open_screen(), differences)
    ctx.exit(_judge(differences))


def _judge(differences: "Differences") -> ExitCode:
    if differences.agree:
        return ExitCode.DONE
    compared = any(not layer.error for layer in differences.layers)
    return ExitCode.PARTLY if compared and differences.first_past is None else ExitCode.FAILED
