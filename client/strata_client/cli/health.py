"""`strata health`."""

from typing import TYPE_CHECKING

import click

from strata_client.cli import exits, options
from strata_client.cli.exits import ExitCode
from strata_client.cli.help import Command
from strata_client.cli.servers import Server
from strata_client.names import escape

if TYPE_CHECKING:
    from strata_client import Health


@click.command(cls=Command)
@options.with_model
@click.pass_context
def health(ctx: click.Context, server: Server, model: str, *, as_json: bool) -> None:
    """Say whether the server takes requests.

    Where --model names one, it must be served as well. Of several servers each is asked. The exit code is 1 if one
    does not serve, and 4 if none answers at all.
    """
    with server.connect() as client:
        found = client.health()
        if model and found.serving:
            client.describe(model)
    if as_json:
        from strata_client import documents

        documents.show({"serving": found.serving, "servers": dict(found.servers)})
    else:
        _print(found)
    ctx.exit(_judge(found))


def _print(found: "Health") -> None:
    for address, state in found.servers.items():
        # Of one server everybody knows which it is, and why there is no answer names it anyway.
        is_named = len(found.servers) == 1 or address in state
        click.echo(escape(state if is_named else f"{address}: {state}"))


def _judge(found: "Health") -> ExitCode:
    if found.serving:
        return ExitCode.DONE
    from strata_client.health import NOT_SERVING, SERVING

    states = found.servers.values()
    answered = {SERVING, NOT_SERVING} & set(states)
    return ExitCode.FAILED if answered or all(map(exits.is_mismatch, states)) else ExitCode.RETRY
