"""How this process takes part in changes: it leads, where it serves alone, or follows a supervisor."""

import logging
import socket
from collections.abc import Callable, Mapping

from strata_server.control import Control, Json, Subject
from strata_server.coordination import Coordinator, Here
from strata_server.curator import Curator
from strata_server.errors import StartError, StrataError
from strata_server.remote import RemoteControl
from strata_server.settings import Settings
from strata_server.shelf import MODELS
from strata_server.trials import Trials
from strata_server.watcher import Watcher

log = logging.getLogger(__name__)


class Leader:
    """This process serves alone, and makes its changes itself."""

    def __init__(self, settings: Settings, trials: Trials) -> None:
        self._coordinator = Coordinator(settings.load_timeout_s)
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
        """Make no changes any more."""
        self._watcher.stop()
        self._coordinator.close()


class Follower:
    """This process is one of several, whose supervisor makes the changes."""

    def __init__(self, control: int) -> None:
        """Take the file descriptor of the socket to the supervisor."""
        self._remote = RemoteControl(socket.socket(fileno=control))
        self._subjects: Mapping[str, Subject] = {}
        self.control: Control = self._remote
        """Whom calls ask for changes."""

    def begin(self, subjects: Mapping[str, Subject], check_stop: Callable[[], None]) -> None:
        """Bring the subjects to where they are in the other processes.

        Raises:
            StartError: none of the models can be had.
        """
        self._subjects = subjects
        reasons = []
        models = self._remote.table.get(MODELS, {})
        for name, values in self._remote.table.items():
            for key, value in values.items():
                check_stop()
                reason = _restore(subjects[name], key, value)
                if reason:
                    log.error("%s %s cannot be had here: %s", name, key, reason)
                    reasons += [reason] if name == MODELS else []
        if reasons and len(reasons) == len(models):
            raise StartError("; ".join(reasons))

    def go_on(self) -> None:
        """Follow changes from now on."""
        self._remote.follow(self._subjects)

    def end(self) -> None:
        """Do nothing: the supervisor knows when it stops."""


def _restore(subject: Subject, key: str, value: Json) -> str:
    """Bring one value into a subject; return what keeps it out."""
    try:
        subject.prepare({key: value})
    except StrataError as error:
        return str(error)
    subject.commit({key: value})
    return ""
