"""What can go wrong that whoever typed the command can mend.

    TrainingError
    ├── NotFound      an unknown data set, network, run or file
    ├── BadName       a name that cannot be a folder's
    ├── Exists        a run or a version that would be lost
    ├── Diverged      a training whose loss was never a number
    ├── Stopped       a training that the user broke off and can go on with
    ├── Changed       a setting that is not the one a run was started with
    ├── Unreadable    a file that is not what it should be: a run's record, a .keras file, an artifact
    ├── Unsupported   a network that cannot be exported with every layer addressable
    └── Mismatch      an artifact and a Keras model that are not the same network
        └── ParityMiss    the same layers, but a layer's values differ by more than is allowed

Anything else is a defect of ours and shows its traceback.
"""

import difflib
from collections.abc import Iterable

_NAMES_LISTED = 5


class TrainingError(Exception):
    """An error with a message: what is wrong, what was expected, what was received."""


class NotFound(TrainingError):
    """No data set, network, run or file has that name."""


class BadName(TrainingError):
    """The name cannot be a folder's."""


class Exists(TrainingError):
    """A run or a version of that name is there already."""


class Diverged(TrainingError):
    """The loss was never a number, so there are no weights to keep."""


class Stopped(TrainingError):
    """The user broke a training off, and can go on with it."""


class Changed(TrainingError):
    """A run that is gone on with keeps its settings."""


class Unreadable(TrainingError):
    """The file is not what it should be."""


class Unsupported(TrainingError):
    """The network cannot be exported with every layer addressable."""


class Mismatch(TrainingError):
    """The artifact and the Keras model are not the same network."""


class ParityMiss(Mismatch):
    """A layer's values differ by more than is allowed."""


def unknown(what: str, name: str, known: Iterable[str]) -> NotFound:
    """Return the error for a name that does not exist, with the nearest ones that do."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, _NAMES_LISTED, cutoff=0.5)
    listed = ", ".join(map(repr, near or names[:_NAMES_LISTED]))
    if not names:
        hint = "there are none"
    elif near:
        hint = f"nearest: {listed}"
    else:
        hint = f"there are {len(names)}: {listed}{', …' if len(names) > _NAMES_LISTED else ''}"
    return NotFound(f"unknown {what} {name!r}; {hint}")
