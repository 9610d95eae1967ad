"""`strata models`."""

from typing import TYPE_CHECKING

import click

from strata_client.cli import options
from strata_client.cli.help import Command
from strata_client.cli.servers import Server

if TYPE_CHECKING:
    from strata_client import Client, Model, RepositoryVersion


@click.command(cls=Command)
@options.option("--all", "with_unserved", is_flag=True, help="Those that are not served too, each with the reason.")
@options.with_model
def models(server: Server, model: str, *, with_unserved: bool, as_json: bool) -> None:
    """List the models that are served, and their versions."""
    with server.connect() as client:
        served = _list_served(client, model) if not with_unserved else []
        there = _list_all(client, model) if with_unserved else []
    if as_json:
        from strata_client import documents

        found = {"versions": there} if with_unserved else {"models": served}
        documents.show({name: [vars(one) for one in versions] for name, versions in found.items()})
        return
    from strata_client import tables

    screen = tables.open_screen()
    if with_unserved:
        tables.show_repository(screen, there)
    else:
        tables.show_models(screen, served)


def _list_served(client: "Client", model: str) -> "list[Model]":
    served = [one for one in client.models() if model in {"", one.name, f"{one.name}:{one.version}"}]
    if model and not served:
        client.describe(model)  # which says that there is none, and what the nearest names are
    return served


def _list_all(client: "Client", model: str) -> "list[RepositoryVersion]":
    there = [one for one in client.versions() if model in {"", one.name, f"{one.name}:{one.version}"}]
    if model and not there:
        client.describe(model)
    return there
