"""The names of runs and models: each becomes a folder's."""

import re
from collections.abc import Sequence

from strata_training.errors import BadName

_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def check_name(what: str, name: str) -> None:
    """Check that a run or a model may have this name.

    Raises:
        BadName: it holds another character than a letter, a digit, `.`, `_` or `-`, or is too long.
    """
    if not is_name(name):
        raise BadName(
            f"bad name of a {what}: expected 1 to 128 letters, digits, '.', '_' or '-', "
            f"a letter or digit first, received {name!r}"
        )


def is_name(text: str) -> bool:
    """Say whether a text can be such a name."""
    return _PATTERN.fullmatch(text) is not None


def file_names(classes: Sequence[str]) -> list[str]:
    """Return a name for a file of each class: its own, or _NUMBER from 0 where that cannot be one; none begins so."""
    return [name if is_name(name) else f"_{label}" for label, name in enumerate(classes)]
