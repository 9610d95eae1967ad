"""The command strata, and what holds for all of its commands."""

import io
import os
import sys
from typing import Any

import click

from strata_client.cli import (
    activations,
    batch,
    completion,
    diff,
    exits,
    health,
    layers,
    load,
    models,
    predict,
    unload,
)
from strata_client.cli.exits import JSON_KEY, MEANINGS, ExitCode
from strata_client.errors import StrataError


class Commands(click.Group):
    """Turns whatever a user can cause into one line and an exit code: no traceback for a wrong name or Ctrl-C."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click passes it
        """Return the commands in the order one needs them."""
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Remember who asks: wrong usage must be said before the options of the command are understood."""
        ctx.meta[JSON_KEY] = "--json" in args
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            _silence_output()
            ctx.exit(ExitCode.UNREAD)
        except KeyboardInterrupt:
            if sys.stderr.isatty():
                click.echo(err=True)  # the terminal has just shown ^C
            ctx.exit(ExitCode.INTERRUPTED)
        except click.UsageError as error:
            if not ctx.meta[JSON_KEY]:
                raise  # people are shown how it is used as well
            ctx.exit(exits.tell(error, ctx))
        except (StrataError, OSError) as error:
            ctx.exit(exits.tell(error, ctx))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the exit codes, and what to try first."""
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(int(code)), meaning) for code, meaning in MEANINGS.items()])
        super().format_epilog(ctx, formatter)


def _silence_output() -> None:
    # Python writes once more what is left when it ends, and complains if nobody reads it.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="For example: strata activations seven.png --layers conv1 --plot out.png",
)
@click.version_option(package_name="strata-client", prog_name="strata")
def main() -> None:
    """Ask a Strata server for predictions, and for what any layer of a network computes."""
    # A name may hold letters that the locale cannot print: they are escaped, and no reason to end.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


for _command in (
    models.models,
    layers.layers,
    predict.predict,
    activations.activations,
    batch.batch,
    diff.diff,
    health.health,
    load.load,
    unload.unload,
    completion.completion,
):
    main.add_command(_command)
