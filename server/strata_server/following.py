"""How this process takes part in changes: it leads, where it serves alone, or follows a supervisor."""

import socket
from collections.abc import Callable, Mapping

from strata_server.control import Control, Subject
from strata_server.coordination import Coordinator, Here
from strata_server.curator import Curator
from strata_server.remote import RemoteControl
from strata_server.settings import Settings
from strata_server.trials import Trials
from strata_server.watcher import Watcher

# For a step of a change, beside the opening of versions.
_PATIENCE_S = 30


class Leader:
    """This process serves alone, and makes its changes itself."""

    def __init__(self, settings: Settings, trials: Trials) -> None:
        self.is_first = True
        """Whether this is the start of the server, not of one worker in the place of another."""
        self._trials = trials
        self._coordinator = Coordinator(_PATIENCE_S)
        self._curator = Curator(settings, self._coordinator, trials)
        self._coordinator.models = self._curator
        self._watcher = Watcher(settings, self._coordinator, self._curator)
        self.control: Control = self._coordinator
        """Whom calls ask for changes."""

    def begin(self, subjects: Mapping[str, Subject], check_stop: Callable[[], None]) -> None:
        """Bring the subjects to where they are at the start.

        Raises:
            StartError: the models cannot be had.
        """
        self._coordinator.join(Here(subjects))
        self._coordinator.finish(lambda: self._curator.begin(check_stop), check_stop)

    def go_on(self) -> None:
        """Make changes from now on."""
        self._watcher.start()

    def end(self) -> None:
        """Make no changes any more: what is being tried is ended, and whoever waits for that is answered."""
        self._coordinator.close()
        self._trials.close()
        self._watcher.stop()


class Follower:
    """This process is one of several, whose supervisor makes the changes."""

    def __init__(self, control: int, *, is_first: bool) -> None:
        """Take the file descriptor of the socket to the supervisor, and whether this is the start of the server."""
        self.is_first = is_first
        self._remote = RemoteControl(socket.socket(fileno=control))
        self._subjects: Mapping[str, Subject] = {}
        self.control: Control = self._remote
        """Whom calls ask for changes."""

    def begin(self, subjects: Mapping[str, Subject], check_stop: Callable[[], None]) -> None:
        """Bring the subjects to where they are in the other processes, as far as that can be had here."""
        self._subjects = subjects
        for name, values in self._remote.table.items():
            for key, value in values.items():
                check_stop()
                subjects[name].restore(key, value)

    def go_on(self) -> None:
        """Follow changes from now on."""
        self._remote.follow(self._subjects)

    def end(self) -> None:
        """Do nothing: the supervisor knows when it stops."""
