"""The README's blocks are run: what it shows is what a user gets.

A number may differ from machine to machine in its last digits, so numbers are compared by their place alone; words,
names and layout must be the same.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import Digits
from processes import BIN, ServerProcess

README = Path(__file__).resolve().parents[2] / "README.md"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"[0-9][0-9,]*(\.[0-9]+)?(e[-+]?[0-9]+)?")

# Run elsewhere: these set up, test or deploy the very checkout that this test belongs to, or serve until stopped.
RUN_ELSEWHERE = ("make ", "git ", "source ", "cd ", "docker ", "strata-server ", "strata-train ")


@dataclass(frozen=True)
class Shown:
    """A command in the README, and what it prints there."""

    command: str
    output: str


def blocks(language: str) -> list[str]:
    return [text for found, text in FENCE.findall(README.read_text()) if found == language]


def shown_commands() -> list[Shown]:
    commands = []
    for block in blocks("console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.replace("\\\n", "").partition("\n")
            commands.append(Shown(command, output))
    return commands


def run_here(shown: Shown) -> bool:
    return not shown.command.startswith(RUN_ELSEWHERE)


def environment(server: ServerProcess) -> dict[str, str]:
    path = f"{BIN}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "STRATA_SERVER": server.grpc, "COLUMNS": "110"}


def run(command: str, digits: Digits, server: ServerProcess) -> str:
    command = command.replace("localhost:8001", server.grpc)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=digits.folder,
        env=environment(server),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def without_numbers(text: str) -> list[str]:
    """Return the words of each line; bars, rules and padding follow the numbers and go with them."""
    lines = [re.sub(r"[^\w./:%]+", " ", NUMBER.sub("N", line)).strip() for line in text.splitlines()]
    # How many runners-up are worth a mention differs as well.
    return [re.sub(r"\bN( N)+\b", "N", line) for line in lines if line]


@pytest.mark.parametrize(
    "shown", [s for s in shown_commands() if s.command.startswith("strata ")], ids=lambda shown: shown.command
)
def test_a_command_prints_what_the_readme_shows(shown: Shown, digits: Digits, server: ServerProcess) -> None:
    assert without_numbers(run(shown.command, digits, server)) == without_numbers(shown.output)


@pytest.mark.parametrize("program", blocks("python"))
def test_a_program_runs_and_prints_what_its_comments_say(program: str, digits: Digits, server: ServerProcess) -> None:
    program = program.replace("localhost:8001", server.grpc)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=digits.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    promised = re.findall(r"^ *print\(.*\)  # (.*)$", program, flags=re.MULTILINE)
    assert [NUMBER.sub("N", line) for line in done.stdout.splitlines()] == [NUMBER.sub("N", line) for line in promised]


@pytest.mark.parametrize(
    "shown",
    [s for s in shown_commands() if s.command.startswith("grpcurl ")],
    ids=lambda shown: shown.command[:60],
)
def test_the_same_is_had_by_reflection(shown: Shown, digits: Digits, server: ServerProcess) -> None:
    command = shown.command if shutil.which("grpcurl") else as_buf_curl(shown.command)
    assert comparable(run(command, digits, server)) == comparable(shown.output)


@pytest.mark.parametrize(
    "shown", [s for s in shown_commands() if s.command.startswith("curl ")], ids=lambda shown: shown.command
)
def test_the_same_is_had_over_http(shown: Shown, digits: Digits, server: ServerProcess) -> None:
    command = shown.command.replace("localhost:8000", server.http)
    assert comparable(run(command, digits, server)) == comparable(shown.output)


def comparable(document: str) -> str:
    """Return a JSON document without its numbers and raw bytes; older releases of grpcurl write field_names so."""
    text = json.dumps(json.loads(document)).replace("data_type", "dataType")
    return NUMBER.sub("N", re.sub(r'"data": "[^"]*"', '"data": ""', text))


def as_buf_curl(command: str) -> str:
    """Return the call for buf, which asks by reflection as grpcurl does and can be had from PyPI."""
    *_, address, method = shlex.split(re.sub(r'"\{.*\}"', "", command))
    data = re.search(r'-d ("\{.*\}")', command)
    assert data, command
    return f"buf curl --protocol grpc --http2-prior-knowledge -d {data[1]} http://{address}/{method}"


def test_every_command_is_run_here_or_said_to_be_run_elsewhere() -> None:
    tried = ("strata ", "grpcurl ", "curl ")
    unknown = [s.command for s in shown_commands() if run_here(s) and not s.command.startswith(tried)]
    assert not unknown
    assert len(blocks("python")) >= 1
    assert "@@" not in README.read_text()
    assert {"make demo", "make test"} <= {shown.command for shown in shown_commands()}


def test_every_file_that_the_tree_names_is_there() -> None:
    tree = next(block for block in blocks("text") if "docker-compose.yml" in block)
    for line in tree.splitlines()[1:]:
        for name in line.split("  ")[0].split():
            assert (README.parent / name).exists(), name
