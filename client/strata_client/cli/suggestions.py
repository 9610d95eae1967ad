"""Names that a shell offers while a command is typed: those that the server has, if it answers at once."""

import re
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from strata_client.cli.servers import Server

if TYPE_CHECKING:
    from strata_client import Client

_PATIENCE_S = 0.5

# What a shell takes for a word as it stands. Any other name would need quotes, and whoever chose it may mean harm:
# what is offered here is run with the next key.
_HARMLESS = re.compile(r"[\w@%+.:/][\w@%+.:/,=-]*")

_STEPS = ("mean", "max", "statistics", "half", "none", "top:", "labels:", "channels:", "space:")


def suggest_models(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Suggest models, and their versions once a name is typed."""
    found: list[str] = []
    with suppress(Exception), _connect(context) as client:
        served = client.models()
        found = [f"{one.name}:{one.version}" for one in served] if ":" in incomplete else [one.name for one in served]
    return _offer(found, incomplete)


def suggest_loadable(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Suggest the models of the repository, served or not."""
    found: list[str] = []
    with suppress(Exception), _connect(context) as client:
        found = [one.name for one in client.versions()]
    return _offer(found, incomplete)


def suggest_layers(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Suggest the layers of the model, behind those that stand before a comma already."""
    known = _list_layers(context)
    before, comma, _ = incomplete.rpartition(",")
    there = before.split(",")
    return _offer((f"{before}{comma}{name}" for name in known if name not in there), incomplete)


def suggest_reductions(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem[str]]:
    """Suggest the steps, and the layers asked that could have some of their own."""
    layer, equals, _ = incomplete.rpartition("=")
    names = [] if equals else [f"{name}=" for name in _list_asked(context)]
    before = f"{layer}{equals}"
    return _offer([*(f"{before}{step}" for step in _STEPS), *names], incomplete)


def _list_asked(context: click.Context) -> list[str]:
    """Return the layers of --layers, where they have been typed already; else all."""
    asked = context.params.get("names")
    if not asked:
        return _list_layers(context)
    from strata_client.names import split

    return split(asked, ())


def _list_layers(context: click.Context) -> list[str]:
    with suppress(Exception), _connect(context) as client:
        return [layer.name for layer in client.layers(_read_model(context))]
    return []


def _read_model(context: click.Context) -> str:
    # `strata diff` takes its models as arguments, which click leaves alone while an option's value is missing.
    untold = context.args[:1] if "a" in context.params else []
    typed: str = context.params.get("model") or context.params.get("a") or "".join(untold)
    return typed


def _connect(context: click.Context) -> "Client":
    from strata_client import Retries

    return Server.guess(context.params).connect(timeout_s=_PATIENCE_S, retries=Retries(attempts=1))


def _offer(names: Iterable[str], incomplete: str) -> list[CompletionItem[str]]:
    fitting = dict.fromkeys(name for name in names if name.startswith(incomplete))
    return [CompletionItem(name) for name in fitting if _HARMLESS.fullmatch(name)]
