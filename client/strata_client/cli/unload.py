"""`strata unload`."""

import click

from strata_client.cli import options, suggestions
from strata_client.cli.help import Command
from strata_client.cli.servers import Server
from strata_client.names import escape


@click.command(cls=Command)
@click.argument("model", metavar="MODEL", shell_complete=suggestions.suggest_models)
@options.with_server
def unload(server: Server, model: str, *, as_json: bool) -> None:
    """Have MODEL served no longer.

    Requests that it has taken are answered. The server must have been started with `--repository explicit`.
    """
    with server.connect() as client:
        client.unload(model)
    if as_json:
        from strata_client import documents

        documents.show({"model": model})
        return
    click.echo(escape(f"{model}: no longer served"))
