"""`strata models`."""

import click

from strata_client.cli import options
from strata_client.cli.help import Command
from strata_client.cli.servers import Server


@click.command(cls=Command)
@options.with_model
def models(server: Server, model: str, *, as_json: bool) -> None:
    """List the models that are served, and their versions."""
    with server.connect() as client:
        served = [one for one in client.models() if model in {"", one.name, f"{one.name}:{one.version}"}]
        if model and not served:
            client.describe(model)  # which says that there is none, and what the nearest names are
    if as_json:
        from strata_client import documents

        documents.show({"models": [vars(one) for one in served]})
        return
    from strata_client import tables

    tables.show_models(tables.open_screen(), served)
