"""Terminals of a chosen width, on which commands run."""

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping
from pathlib import Path


class Terminal:
    """A command on a terminal; `text` is what has been shown so far."""

    def __init__(self, command: list[str | Path], environment: Mapping[str, str], columns: int) -> None:
        self.text = ""
        self._end, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        self.process = subprocess.Popen(
            command, stdin=other, stdout=other, stderr=other, env=dict(environment), start_new_session=True
        )
        os.close(other)

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._end, keys.encode())

    def wait_for(self, pattern: str, bound_s: float = 30) -> None:
        """Wait until what has been shown has something like the pattern, or all has been shown."""
        end = time.monotonic() + bound_s
        while not re.search(pattern, self.text):
            assert time.monotonic() < end, f"{pattern!r} is not in {self.text!r}"
            if select.select([self._end], [], [], 0.1)[0] and not self._read():
                return

    def close(self) -> None:
        """End the command."""
        self.process.kill()
        self.process.wait()
        os.close(self._end)

    def _read(self) -> bool:
        try:
            data = os.read(self._end, 2**16)
        except OSError:  # all that there is when the other end is closed
            return False
        self.text += data.decode()
        return bool(data)


@contextlib.contextmanager
def on_terminal(command: list[str | Path], environment: Mapping[str, str], columns: int = 80) -> Iterator[Terminal]:
    """Run a command on a terminal as long as the block lasts."""
    terminal = Terminal(command, environment, columns)
    try:
        yield terminal
    finally:
        terminal.close()


def show(command: list[str | Path], environment: Mapping[str, str], columns: int = 80) -> str:
    """Return all that a command shows on a terminal."""
    with on_terminal(command, environment, columns) as terminal:
        terminal.wait_for(r"(?!)")
        return terminal.text
