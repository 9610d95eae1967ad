"""Whether servers take requests."""

from collections.abc import Mapping
from dataclasses import dataclass

SERVING, NOT_SERVING = "serving", "not serving"


@dataclass(frozen=True)
class Health:
    """What the servers of a client say of themselves."""

    servers: Mapping[str, str]
    """By address: `serving`, `not serving`, or why there is no answer."""

    @property
    def serving(self) -> bool:
        """Whether all of them take requests."""
        return all(state == SERVING for state in self.servers.values())
