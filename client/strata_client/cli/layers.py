"""`strata layers`."""

import click

from strata_client.cli import options, suggestions
from strata_client.cli.help import Command
from strata_client.cli.servers import Server
from strata_client.names import escape


@click.command(cls=Command)
@click.argument("name", default="", metavar="[MODEL]", shell_complete=suggestions.suggest_models)
@options.with_model
def layers(server: Server, model: str, name: str, *, as_json: bool) -> None:
    """List the layers of MODEL.

    MODEL is NAME or NAME:VERSION, and is not needed where there is one. A layer's shape is that of its
    activation for one input, without the batch. Parameters and multiply-adds are of that layer alone.
    """
    if name and model and name != model:
        raise click.UsageError(f"two models: {escape(name)} and --model {escape(model)}")
    with server.connect() as client:
        description = client.describe(name or model)
    if as_json:
        from strata_client import documents

        documents.show(documents.describe(description))
        return
    from strata_client import tables

    tables.show_layers(tables.open_screen(), description)
