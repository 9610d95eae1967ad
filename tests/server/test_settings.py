import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from artifacts import write_artifact
from processes import BIN
from strata_server.cli import main

DOCS = Path(__file__).resolve().parents[2] / "docs" / "server.md"
FLAGS = [option for option in main.params if isinstance(option, click.Option) and option.envvar]


@pytest.mark.parametrize("option", FLAGS, ids=lambda option: str(option.name))
def test_every_flag_is_documented_with_its_variable_and_default(option: click.Option) -> None:
    rows = [line for line in DOCS.read_text().splitlines() if line.startswith(f"| `{option.opts[0]}` |")]
    assert len(rows) == 1
    assert f"`{option.envvar}`" in rows[0]
    if option.name not in {"models", "threads"}:  # one has no default, one depends on the machine
        default = "(none)" if option.default in {None, ()} else str(option.default)
        assert f"| {default} |" in rows[0]


def test_help_answers_without_importing_onnxruntime() -> None:
    program = "import sys, strata_server.cli; sys.exit('onnxruntime' in sys.modules or 'grpc' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("tiny", "STRATA_WARM'): expected pairs of a model and its layers, received 'tiny'"),
        ("tiny scores tiny", "received 'tiny scores tiny'"),
        ("tiny scores,scores", "--warm tiny scores,scores: expected a model and the names of layers, each once"),
        ("tiny ,", "--warm tiny ,: expected a model and the names of layers, each once"),
        ("tiny score", "--warm tiny score: unknown layer 'score'; nearest: 'scores'"),
    ],
)
def test_slices_to_warm_that_cannot_be_meant_stop_the_start(tmp_path: Path, words: str, reason: str) -> None:
    write_artifact(tmp_path)
    command = [str(BIN / "strata-server"), "--models", str(tmp_path), "--grpc-port", "0", "--http-port", "0"]
    done = subprocess.run(
        command, env={**os.environ, "STRATA_WARM": words}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode in {1, 2}
    assert reason in done.stderr
