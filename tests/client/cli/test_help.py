from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from strata_client.cli import main

README = Path(__file__).parents[3] / "client" / "README.md"
COMMANDS = list(main.commands)


@pytest.mark.parametrize("command", ["", *COMMANDS])
@pytest.mark.parametrize("columns", [80, 100])
def test_every_command_explains_itself_within_the_terminal(command: str, columns: int) -> None:
    done = CliRunner().invoke(main, [*command.split(), "--help"], terminal_width=columns)
    assert (done.exit_code, done.output.startswith("Usage: main")) == (0, True)
    assert max(map(len, done.output.splitlines())) <= columns


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_speaks_to_machines(command: str) -> None:
    assert "  --json  " in CliRunner().invoke(main, [command, "--help"]).output


@pytest.mark.parametrize("command", sorted({*COMMANDS} - {"completion"}))
def test_options_of_the_connection_stand_behind_those_of_the_command(command: str) -> None:
    page = CliRunner().invoke(main, [command, "--help"]).output
    own, connection = page.split("\nConnection:\n")
    assert "  --json" in own
    for option in ("--server", "--timeout", "--tls", "--ca", "--cert", "--key", "--token-file"):
        assert f"  {option}" in connection
        assert f"  {option} " not in own


def test_every_command_and_option_is_documented() -> None:
    readme = " ".join(README.read_text().split())
    for name, command in main.commands.items():
        if name == "batch":
            continue  # has a page of its own
        assert f"`strata {name}" in readme or f"$ strata {name}" in readme
        for option in command.params:
            if isinstance(option, click.Option):
                assert f"{option.opts[0]}" in readme, f"{option.opts[0]} of {name}"
