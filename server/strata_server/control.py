"""Changes of a running server: they hold in all of its processes before whoever asked for one is answered.

A server's state, apart from what it computes, is a table: for each subject (log levels, shared memory, models) values
by key. A change sets some of them. Every process prepares it, which may fail and shows nothing yet; when all have
prepared it all commit it, and if one has refused it all abandon it. A process that starts later is given the table.
"""

import logging
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from strata_server.errors import StrataError

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

Values: TypeAlias = Mapping[str, Json]
"""By key; None takes a key out of the table."""


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Change:
    """New values for some keys of a subject."""

    subject: str
    values: Values
    patience_s: float = 0.0
    """How long a process may take to prepare it, beside what any step may take."""


@dataclass(frozen=True)
class Listed:
    """A version in the model repository, served or not."""

    model: str
    version: str
    """Its number; empty where the model as a whole is meant."""
    state: str
    """READY, LOADING, UNLOADING or UNAVAILABLE."""
    reason: str = ""
    """Why it is not served."""


class Subject(Protocol):
    """What a process does about the changes of one subject; called one change after the other."""

    def prepare(self, values: Values) -> None:
        """Make ready what a change needs, without showing anything of it.

        Raises:
            StrataError: it cannot be; nothing is left of it then.
        """

    def commit(self, values: Values) -> None:
        """Let a change that was prepared take effect; cannot fail."""

    def abandon(self, values: Values) -> None:
        """Drop what was prepared."""

    def restore(self, key: str, value: Json) -> None:
        """Bring in a value that holds in the other processes, at the start of this one; what cannot be is logged."""
        try:
            self.prepare({key: value})
        except StrataError as error:
            log.error("%s cannot be had here: %s", key, error)
        else:
            self.commit({key: value})


class Control(Protocol):
    """Whom a process asks for changes."""

    def change(self, change: Change) -> Future[None]:
        """Make a change in all processes; the future raises the StrataError of the first that refused."""

    def load(self, model: str) -> Future[None]:
        """Serve what the model repository holds of a model now."""

    def unload(self, model: str) -> Future[None]:
        """Serve a model no longer."""

    def index(self) -> Future[list[Listed]]:
        """Return every version in the model repository."""
