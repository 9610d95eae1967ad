"""Pages of the documentation, and what their blocks do when a reader runs them.

A number may differ from machine to machine in its last digits, so numbers are compared by their place alone; words,
names and layout must be the same. An exit code is a word: scripts rely on it.
"""

import contextlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from processes import BIN, ServerProcess, serving

ROOT = Path(__file__).resolve().parents[1]
NUMBER = re.compile(r"[0-9][0-9,]*(\.[0-9]+)?(e[-+]?[0-9]+)?")
_EXIT_CODE = re.compile("exit code [0-9]+")
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# The shell is in the demo's folder, with the environment that has the commands.
_ALREADY_SO = ("cd ", "source ")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    text: str

    @property
    def commands(self) -> "list[Shown]":
        """What it tells the reader to type, where it is of a console."""
        parts = re.split(r"^\$ ", self.text, flags=re.MULTILINE)[1:] if self.language == "console" else []
        return [Shown(*part.replace("\\\n", "").partition("\n")[::2]) for part in parts]


@dataclass(frozen=True)
class Shown:
    """A command in a page, and what it prints there."""

    command: str
    output: str


def read_blocks(page: Path) -> list[Block]:
    return [Block(language, text) for language, text in _FENCE.findall(page.read_text())]


def without_numbers(text: str) -> list[str]:
    """Return the words of each line; bars, rules and padding follow the numbers and go with them."""
    lines = [re.sub(r"[^\w./:%]+", " ", _mask(line)).strip() for line in text.splitlines()]
    # How many runners-up are worth a mention differs as well.
    return [re.sub(r"\bN( N)+\b", "N", line) for line in lines if line]


def _mask(line: str) -> str:
    return line if _EXIT_CODE.fullmatch(line) else NUMBER.sub("N", line)


class Shell:
    """Runs what pages show where the demo left its model; the same command once, however many pages show it."""

    def __init__(self, folder: Path, server: ServerProcess) -> None:
        self.folder = folder
        self._addresses = {"localhost:8001": server.grpc, "../client/": f"{ROOT}/client/"}
        self._environment = {
            **os.environ,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "STRATA_SERVER": server.grpc,
            "COLUMNS": "110",
            "PYTHONWARNINGS": "error",
            # Threads that wait for each other by spinning cost a busy machine more than the sums they share.
            "OPENBLAS_NUM_THREADS": "1",
        }
        self._done: dict[str, str] = {}
        self._servers: dict[str, ServerProcess] = {}
        self._running = contextlib.ExitStack()

    def run(self, command: str) -> str:
        """Return what a command prints; where it starts another server, those after it reach that."""
        if command.startswith("strata-server "):
            self._serve(command)
            return ""
        command = self._translate(command)
        if command not in self._done:
            self._done[command] = self._execute("bash", "-euo", "pipefail", "-c", command)
        return self._done[command]

    def run_program(self, program: str) -> str:
        """Return what a program in Python prints."""
        return self._execute(sys.executable, "-c", self._translate(program))

    def close(self) -> None:
        """Stop the servers that were started."""
        self._running.close()

    def _serve(self, command: str) -> None:
        words = shlex.split(command)[1:]
        flags = dict(zip(words[::2], words[1::2], strict=True))
        port = flags.get("--grpc-port")
        if not port:
            return  # the one that runs already
        models = flags["--models"]
        if models not in self._servers:
            self._servers[models] = self._running.enter_context(serving(self.folder / models))
        self._addresses[f"localhost:{port}"] = self._servers[models].grpc

    def _translate(self, text: str) -> str:
        for shown, real in self._addresses.items():
            text = text.replace(shown, real)
        return text

    def _execute(self, *command: str) -> str:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def follow(page: Path, shell: Shell) -> Iterator[tuple[str, list[str], list[str]]]:
    """Do what a page says from top to bottom; yield each step, what it prints, and what it is shown to print."""
    for block in read_blocks(page):
        for shown in block.commands:
            if not shown.command.startswith(_ALREADY_SO):
                yield shown.command, without_numbers(shell.run(shown.command)), without_numbers(shown.output)
        if block.language == "python":
            promised = re.findall(r"^ *print\(.*\)  # (.*)$", block.text, flags=re.MULTILINE)
            printed = shell.run_program(block.text)
            yield block.text, without_numbers(printed), without_numbers("\n".join(promised))
