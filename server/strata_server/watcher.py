"""Tells when a model repository has changed."""

import logging
import threading

import watchfiles

from strata_server.coordination import Coordinator
from strata_server.curator import Curator
from strata_server.errors import Draining, StartError
from strata_server.settings import Settings

_GATHERED_MS = 100  # changes that follow each other so closely are looked at together

log = logging.getLogger(__name__)


class Watcher:
    """Has the curator look when the file system tells of a change, and every few seconds where it tells nothing."""

    def __init__(self, settings: Settings, coordinator: Coordinator, curator: Curator) -> None:
        self._settings = settings
        self._coordinator = coordinator
        self._curator = curator
        self._stopped = threading.Event()
        self._told = ""
        self._thread = threading.Thread(target=self._watch, name="watcher", daemon=True)

    def start(self) -> None:
        """Watch, if that is how the models change."""
        if self._settings.repository == "watch":
            self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        self._stopped.set()
        if self._thread.ident:
            self._thread.join()

    def _watch(self) -> None:
        try:
            self._follow_events()
        except Exception as error:  # noqa: BLE001 - a folder that cannot be watched can still be looked through
            log.warning(
                "the file system tells nothing of %s: it is looked through every %d s (%s)",
                self._settings.models,
                self._settings.repository_poll_s,
                error,
            )
        while not self._stopped.wait(self._settings.repository_poll_s):
            self._look()

    def _follow_events(self) -> None:
        self._look()  # for what has changed since the start
        events = watchfiles.watch(
            self._settings.models,
            watch_filter=None,
            debounce=_GATHERED_MS,
            step=_GATHERED_MS // 2,
            stop_event=self._stopped,
            rust_timeout=self._settings.repository_poll_s * 1000,
            yield_on_timeout=True,
            raise_interrupt=False,
            ignore_permission_denied=True,
        )
        for _ in events:
            self._look()

    def _look(self) -> None:
        try:
            while not self._stopped.is_set() and self._coordinator.curate(self._curator.look).result():
                pass
        except Draining:
            return
        except StartError as error:
            if str(error) != self._told:  # once, however often it is looked for
                log.error("the model repository cannot be looked through: %s", error)
            self._told = str(error)
        except Exception:
            log.exception("the model repository cannot be looked through")
