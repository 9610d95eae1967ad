import subprocess
import sys
from pathlib import Path

import click
import pytest
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
