import io
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import CliRunner
from processes import BIN, ServerProcess
from strata.v1.catalog_pb2 import ListModelsResponse
from strata_client.cli import main
from terminals import show

Peer = Callable[..., AbstractContextManager[str]]

ENVIRONMENT = {"PATH": f"{BIN}:/usr/bin:/bin", "LANG": "C.UTF-8"}


def test_a_hostile_server_moves_no_cursor(peer: Peer) -> None:
    def answer(*_: Any) -> ListModelsResponse:
        return ListModelsResponse(models=[{"name": "\x1b[2J[red]", "version": "1"}])

    def refuse(_: object, context: grpc.ServicerContext) -> None:
        context.abort(grpc.StatusCode.NOT_FOUND, "two\nlines \x1b[2J")

    with peer({"ListModels": answer, "DescribeModel": refuse}) as address:
        for arguments in (["models"], ["models", "--json"], ["layers"]):
            done = CliRunner().invoke(main, [*arguments, "--server", address])
            assert "\x1b" not in done.output
        assert done.stderr == "strata: two\\nlines \\x1b[2J\n"


@pytest.mark.parametrize("command", ["models", "models --json"])
def test_a_reader_that_leaves_early_hears_no_complaint(tiny: ServerProcess, command: str) -> None:
    done = subprocess.run(
        ["bash", "-c", f"strata {command} --server {tiny.grpc} | true; exit ${{PIPESTATUS[0]}}"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.stderr, done.returncode) == ("", 141)


def test_output_that_the_locale_cannot_print_is_escaped(peer: Peer) -> None:
    def answer(*_: Any) -> ListModelsResponse:
        return ListModelsResponse(models=[{"name": "größe", "version": "1"}])

    with peer({"ListModels": answer}) as address:
        done = subprocess.run(
            [Path(sys.executable).parent / "strata", "models", "--server", address],
            env={"PYTHONIOENCODING": "ascii"},
            capture_output=True,
            timeout=30,
            check=False,
        )
    assert io.BytesIO(done.stdout).readlines()[1].startswith(rb"gr\xf6\xdfe")
    assert done.returncode == 0


GREEN = "\x1b[32m"


@pytest.mark.parametrize(
    ("environment", "is_green", "is_plain"),
    [({}, True, False), ({"NO_COLOR": "1"}, False, False), ({"TERM": "dumb"}, False, True)],
)
def test_a_terminal_has_color_unless_it_is_not_wanted(
    tiny: ServerProcess, picture: Path, environment: dict[str, str], *, is_green: bool, is_plain: bool
) -> None:
    command: list[str | Path] = [BIN / "strata", "predict", picture, "--server", tiny.grpc]
    shown = show(command, {**ENVIRONMENT, "TERM": "xterm", **environment}, columns=200)
    assert "█" in shown
    assert (GREEN in shown, "\x1b" not in shown) == (is_green, is_plain)


@pytest.mark.parametrize(("environment", "is_green"), [({}, False), ({"FORCE_COLOR": "1"}, True)])
def test_a_pipe_has_color_where_it_is_forced(
    tiny: ServerProcess, picture: Path, environment: dict[str, str], *, is_green: bool
) -> None:
    command = [BIN / "strata", "predict", picture, "--server", tiny.grpc]
    done = subprocess.run(command, env={**ENVIRONMENT, **environment}, capture_output=True, text=True, check=True)
    assert (GREEN in done.stdout) == is_green


@pytest.mark.parametrize("columns", [60, 50, 40, 25])
def test_layers_fit_the_terminal(tiny: ServerProcess, columns: int) -> None:
    shown = show([BIN / "strata", "layers", "--server", tiny.grpc], {**ENVIRONMENT, "TERM": "xterm"}, columns)
    table = re.sub(r"\x1b\[[\d;]*m", "", shown).splitlines()[1:]
    assert "predictions" in shown
    assert max(map(len, table)) <= columns
    assert ("total" in shown) == (columns > 40)  # of no figures there is none
