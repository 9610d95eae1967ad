import io
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import grpc
from click.testing import CliRunner
from processes import ServerProcess
from strata.v1.catalog_pb2 import ListModelsResponse
from strata_client.cli import main

Peer = Callable[..., AbstractContextManager[str]]


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


def test_a_reader_that_leaves_early_is_no_error(tiny: ServerProcess) -> None:
    command = "strata models --server " + tiny.grpc
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} | true"],
        env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stderr == ""


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
