"""The README's blocks are run: what it shows is what a user gets."""

import json
import re
import shlex
import shutil

import pytest
from pages import NUMBER, ROOT, Shell, Shown, read_blocks, without_numbers
from processes import ServerProcess

README = ROOT / "README.md"

# Run elsewhere: these set up, test or deploy the very checkout that this test belongs to, or serve until stopped.
RUN_ELSEWHERE = ("make ", "git ", "source ", "cd ", "docker ", "strata-server ", "strata-train ")


def blocks(language: str) -> list[str]:
    return [block.text for block in read_blocks(README) if block.language == language]


def shown_commands() -> list[Shown]:
    return [shown for block in read_blocks(README) for shown in block.commands]


def run_here(shown: Shown) -> bool:
    return not shown.command.startswith(RUN_ELSEWHERE)


@pytest.mark.parametrize(
    "shown", [s for s in shown_commands() if s.command.startswith("strata ")], ids=lambda shown: shown.command
)
def test_a_command_prints_what_the_readme_shows(shown: Shown, shell: Shell) -> None:
    assert without_numbers(shell.run(shown.command)) == without_numbers(shown.output)


@pytest.mark.parametrize("program", blocks("python"))
def test_a_program_runs_and_prints_what_its_comments_say(program: str, shell: Shell) -> None:
    promised = re.findall(r"^ *print\(.*\)  # (.*)$", program, flags=re.MULTILINE)
    assert [NUMBER.sub("N", line) for line in shell.run_program(program).splitlines()] == [
        NUMBER.sub("N", line) for line in promised
    ]


@pytest.mark.parametrize(
    "shown",
    [s for s in shown_commands() if s.command.startswith("grpcurl ")],
    ids=lambda shown: shown.command[:60],
)
def test_the_same_is_had_by_reflection(shown: Shown, shell: Shell) -> None:
    command = shown.command if shutil.which("grpcurl") else as_buf_curl(shown.command)
    assert comparable(shell.run(command)) == comparable(shown.output)


@pytest.mark.parametrize(
    "shown", [s for s in shown_commands() if s.command.startswith("curl ")], ids=lambda shown: shown.command
)
def test_the_same_is_had_over_http(shown: Shown, shell: Shell, server: ServerProcess) -> None:
    command = shown.command.replace("localhost:8000", server.http)
    assert comparable(shell.run(command)) == comparable(shown.output)


def comparable(document: str) -> str:
    """Return a JSON document without its numbers, digests and raw bytes; older grpcurl writes field_names so."""
    text = json.dumps(json.loads(document)).replace("data_type", "dataType")
    return NUMBER.sub("N", re.sub(r'"(data|digest)": "[^"]*"', r'"\1": ""', text))


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
