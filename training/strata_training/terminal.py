"""The terminal, or the file that stands in for it."""

import sys
from contextlib import AbstractContextManager

from rich.console import Console, RenderableType

# Wide enough for every column: where no terminal says its width, nothing shall be cut.
_WIDTH_OF_A_FILE = 160


def is_terminal() -> bool:
    """Say whether a person watches standard output."""
    return sys.stdout.isatty()


def waiting(what: str) -> AbstractContextManager[object]:
    """Show on a terminal what takes so long, as long as the block lasts."""
    return Console().status(what)


def show(content: RenderableType) -> None:
    """Print a table on standard output."""
    console = Console(width=None if is_terminal() else _WIDTH_OF_A_FILE, highlight=False)
    if is_terminal():
        console.print(content)
        return
    with console.capture() as captured:
        console.print(content)
    sys.stdout.write("".join(line.rstrip() + "\n" for line in captured.get().splitlines()))
