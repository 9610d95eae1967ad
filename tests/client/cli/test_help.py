import os
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from processes import BIN
from strata_client.cli import main
from terminals import show

README = Path(__file__).parents[3] / "client" / "README.md"
COMMANDS = list(main.commands)


@pytest.mark.parametrize("command", ["", *COMMANDS])
@pytest.mark.parametrize("columns", [80, 100])
def test_every_command_explains_itself_within_the_terminal(command: str, columns: int) -> None:
    done = CliRunner().invoke(main, [*command.split(), "--help"], terminal_width=columns)
    assert (done.exit_code, done.output.startswith("Usage: main")) == (0, True)
    assert max(map(len, done.output.splitlines())) <= columns


def test_the_example_can_be_copied_from_a_terminal_of_80_columns(tmp_path: Path) -> None:
    shown = show([BIN / "strata", "--help"], {"PATH": os.defpath, "HOME": str(tmp_path)})
    assert "  For example: strata activations seven.png --layers conv1 --plot out.png\r\n" in shown


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
        assert f"`strata {name}" in readme or f"$ strata {name}" in readme
        if name == "batch":
            continue  # its options have a page of their own
        for option in command.params:
            if isinstance(option, click.Option):
                assert f"{option.opts[0]}" in readme, f"{option.opts[0]} of {name}"
