"""Options that commands share."""

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from strata_client import _addresses
from strata_client.cli import suggestions
from strata_client.cli.exits import explain
from strata_client.cli.help import CONNECTION, Option
from strata_client.cli.servers import Server
from strata_client.errors import InvalidArgument

if TYPE_CHECKING:
    from strata_client.reductions import Reduction

_Command = Callable[..., None]

_LONGEST_S = 1e8  # what a client takes


class Number(click.FloatRange):
    """A number in a range, in which NaN is not, although it is neither too small nor too large."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number, or refuse it as wrong usage."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"expected a number; received {value}", param, ctx)
        return number


def _check_addresses(_context: click.Context, _option: click.Parameter, value: str) -> str:
    try:
        _addresses.parse(value)
    except InvalidArgument as error:
        raise click.BadParameter(explain(error)) from error
    return value


option = functools.partial(click.option, cls=Option)
_connection = functools.partial(option, section=CONNECTION)
_file = functools.partial(_connection, type=click.Path(path_type=Path), metavar="FILE", show_envvar=True)

_CONNECTION = (
    _connection(
        "--server",
        default="localhost:8001",
        envvar="STRATA_SERVER",
        show_default=True,
        show_envvar=True,
        metavar="HOST:PORT,...",
        callback=_check_addresses,
        help="The server's gRPC port; several share the work.",
    ),
    _connection(
        "--timeout",
        "timeout_s",
        default=30.0,
        show_default="30",
        type=Number(0, _LONGEST_S, min_open=True),
        metavar="SECONDS",
        help="Longest wait for an answer.",
    ),
    _connection("--tls", is_flag=True, envvar="STRATA_TLS", show_envvar=True, help="Encrypt, and check the server."),
    _file("--ca", envvar="STRATA_CA", help="Who vouches for the server (PEM); implies --tls."),
    _file("--cert", envvar="STRATA_CERT", help="The caller's certificate (PEM); implies --tls."),
    _file("--key", envvar="STRATA_KEY", help="The private key of --cert (PEM)."),
    _connection("--server-name", metavar="NAME", help="The name in its certificate; implies --tls."),
    _file("--token-file", envvar="STRATA_TOKEN_FILE", help="Holds the caller's token; else $STRATA_TOKEN is it."),
    _connection("--plain-token", is_flag=True, help="Send the token without TLS, in a private network."),
)

_MODEL = option(
    "--model",
    default="",
    metavar="NAME[:VERSION]",
    shell_complete=suggestions.suggest_models,
    help="The model; not needed where there is one. VERSION is a number or a label; without it, the newest.",
)
json_option = option("--json", "as_json", is_flag=True, help="Print one JSON document; an error is one too.")


def with_model(command: _Command) -> _Command:
    """Add what every command about one model takes: `server`, `model` and `as_json`."""
    return _MODEL(with_server(command))


def with_server(command: _Command) -> _Command:
    """Add what every command takes that asks a server: `server` and `as_json`."""

    @functools.wraps(command)
    def ask(**options: Any) -> None:
        command(server=Server.take(options), **options)

    for option in (*reversed(_CONNECTION), json_option):
        ask = option(ask)
    return ask


def files_argument(name: str, metavar: str) -> Callable[[_Command], _Command]:
    """Return an argument of one file or more; `-` is standard input, which can be read once."""
    return click.argument(
        name,
        nargs=-1,
        required=True,
        metavar=metavar,
        type=click.Path(allow_dash=True),
        callback=_check_dashes,
    )


file_argument = click.argument("file", metavar="FILE", type=click.Path(allow_dash=True))


def _check_dashes(_context: click.Context, _argument: click.Parameter, files: tuple[str, ...]) -> tuple[str, ...]:
    if files.count("-") > 1:
        raise click.BadParameter(f"expected `-`, standard input, once; received it {files.count('-')} times")
    return files


def layers_option(*, required: bool, help_text: str) -> Callable[[_Command], _Command]:
    """Return the option `--layers`, whose names are told apart once the model is known."""
    return option(
        "--layers",
        "names",
        required=required,
        metavar="A,B",
        callback=_check_names,
        shell_complete=suggestions.suggest_layers,
        help=help_text,
    )


def reduce_option(help_text: str) -> Callable[[_Command], _Command]:
    """Return the option `--reduce`, as reductions by layer; that of no layer is for all others."""
    return option(
        "--reduce",
        "reductions",
        multiple=True,
        metavar="[LAYER=]STEPS",
        callback=_parse_reductions,
        shell_complete=suggestions.suggest_reductions,
        help=help_text,
    )


def _check_names(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    """Refuse what holds no name; which names there are is known when the model is described."""
    if value is not None and not value.strip(", "):
        raise click.BadParameter("expected the names of layers, with commas between them")
    return value


def _parse_reductions(
    _context: click.Context, _option: click.Parameter, values: tuple[str, ...]
) -> "dict[str | None, Reduction]":
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
