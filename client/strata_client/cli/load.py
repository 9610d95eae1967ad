"""`strata load`."""

import click

from strata_client.cli import options, suggestions
from strata_client.cli.help import Command
from strata_client.cli.servers import Server
from strata_client.names import escape


@click.command(cls=Command)
@click.argument("model", metavar="MODEL", shell_complete=suggestions.suggest_loadable)
@options.with_server
def load(server: Server, model: str, *, as_json: bool) -> None:
    """Have MODEL served as the repository holds it now.

    It is served when the command ends; a new version takes its place without a gap. Which versions are served the
    model's settings in the repository say. The server must have been started with `--repository explicit`. A large
    network may want a longer --timeout; what has begun goes on without it.
    """
    with server.connect() as client:
        client.load(model)
        served = [one for one in client.models() if one.name == model]
    if as_json:
        from strata_client import documents

        documents.show({"models": [vars(one) for one in served]})
        return
    versions = ", ".join(one.version for one in served)
    click.echo(escape(f"{model}: served, version{'s' if len(served) > 1 else ''} {versions}"))
