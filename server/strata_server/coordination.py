"""Makes changes in all processes of a server, one after the other.

There is one coordinator: in the process itself where it serves alone, in the supervisor where there are workers.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Protocol, TypeVar

from strata_server.control import Change, Json, Listed, Subject, Values
from strata_server.errors import Draining, StrataError, Unservable

Table = Mapping[str, Values]
"""The values of all subjects, by key."""
Result = TypeVar("Result")

_LOOK_S = 0.1
_STOPPING = "the server is stopping and changes nothing any more"

log = logging.getLogger(__name__)


class Participant(Protocol):
    """A process that follows changes."""

    def prepare(self, change: Change) -> "Future[None]":
        """Let it make ready; the future raises why it refuses, or Gone."""

    def commit(self, change: Change) -> "Future[None]":
        """Let what was prepared take effect."""

    def abandon(self, change: Change) -> "Future[None]":
        """Let it drop what was prepared."""

    def expel(self, reason: str) -> None:
        """End a process that does not follow: what it answers would be wrong."""


class Gone(Exception):
    """A process has ended: what it holds does not matter any more."""


class Models(Protocol):
    """Decides which versions are served; called on the coordinator's thread."""

    def load(self, model: str) -> None:
        """Serve what the model repository holds of a model now."""

    def unload(self, model: str) -> None:
        """Serve a model no longer."""

    def index(self) -> list[Listed]:
        """Return every version in the model repository."""


def _ignore(table: Table) -> None:
    pass


class Coordinator:
    """Makes changes, and holds the table of what is set."""

    def __init__(self, patience_s: float) -> None:
        """Hold an empty table.

        Args:
            patience_s: how long a process may take for a step of any change, before it is ended.
        """
        self.models: Models | None = None
        self._patience_s = patience_s
        self._table: dict[str, dict[str, Json]] = {}
        self._participants: list[Participant] = []
        self._changing = threading.Lock()
        # Models are tried for as long as that takes: other changes do not wait for it.
        self._curating = ThreadPoolExecutor(1, thread_name_prefix="curator")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="coordinator")
        self._closed = threading.Event()

    def change(self, change: Change) -> "Future[None]":
        """Make a change in all processes; the future raises the StrataError of the first that refused."""
        return self._submit(self._thread, lambda: self.make(change))

    def load(self, model: str) -> "Future[None]":
        """Serve what the model repository holds of a model now."""
        return self.curate(lambda: self._known_models.load(model))

    def unload(self, model: str) -> "Future[None]":
        """Serve a model no longer."""
        return self.curate(lambda: self._known_models.unload(model))

    def index(self) -> "Future[list[Listed]]":
        """Return every version in the model repository, also while a change is made."""
        return settle(self._known_models.index)

    def curate(self, task: Callable[[], Result]) -> "Future[Result]":
        """Run something that decides about models, after what was asked before it."""
        return self._submit(self._curating, task)

    def _submit(self, thread: ThreadPoolExecutor, task: Callable[[], Result]) -> "Future[Result]":
        def run() -> Result:
            if self._closed.is_set():
                raise Draining(_STOPPING)
            return task()

        try:
            return thread.submit(run)
        except RuntimeError as error:  # it was closed in this moment
            raise Draining(_STOPPING) from error

    def finish(self, task: Callable[[], Result], check_stop: Callable[[], None]) -> Result:
        """Run something as `curate` does, and return its result; `check_stop` may raise meanwhile."""
        future = self.curate(task)
        while not future.done():
            check_stop()
            wait([future], _LOOK_S)
        return future.result()

    def join(self, participant: Participant, begin: Callable[[Table], None] = _ignore) -> None:
        """Let a process follow the changes from now on; `begin` is given the table as it is before them.

        It waits for the change that is being made, and not for what the curator does before one.
        """
        with self._changing:
            begin({subject: dict(values) for subject, values in self._table.items()})
            self._participants.append(participant)

    def leave(self, participant: Participant) -> None:
        """Forget a process that has ended."""
        with self._changing:
            self._forget(participant)

    def make(self, change: Change) -> None:
        """Make a change, after the one that is being made.

        Raises:
            StrataError: a process refused it, or none was left that had prepared it; it holds nowhere.
        """
        with self._changing:
            self._make(change)

    def _make(self, change: Change) -> None:
        steps = [(each, each.prepare(change)) for each in self._participants]
        refusals = [self._wait(each, step, self._patience_s + change.patience_s) for each, step in steps]
        prepared = [
            each
            for (each, _), refusal in zip(steps, refusals, strict=True)
            if not refusal and each in self._participants
        ]
        refusal = next((error for error in refusals if error), None)
        if steps and not prepared and not refusal:
            refusal = Unservable("every process that was to make it ready has ended, or took too long")
        if refusal:
            self._end(change, prepared, lambda each: each.abandon(change))
            raise refusal
        self._end(change, prepared, lambda each: each.commit(change))
        values = self._table.setdefault(change.subject, {})
        for key, value in change.values.items():
            if value is None:
                values.pop(key, None)
            else:
                values[key] = value

    def close(self) -> None:
        """Make no changes any more; one that is being made is finished."""
        self._closed.set()
        for thread in (self._curating, self._thread):
            thread.shutdown(wait=False)

    @property
    def _known_models(self) -> Models:
        if self.models is None:
            raise RuntimeError("no models are known yet")
        return self.models

    def _end(
        self,
        change: Change,
        participants: list[Participant],
        end: Callable[[Participant], "Future[None]"],
    ) -> None:
        steps = [(each, end(each)) for each in participants]
        for each, step in steps:
            error = self._wait(each, step, self._patience_s)
            if error:  # it holds something else than the others now
                log.error("a process could not follow a change of %s: %s", change.subject, error)
                each.expel("it could not follow a change")
                self._forget(each)

    def _wait(self, participant: Participant, step: "Future[None]", patience_s: float) -> Exception | None:
        """Return why a step failed; nothing if it did not, or if its process has ended."""
        try:
            step.result(patience_s)
        except Gone:
            self._forget(participant)
        except TimeoutError:
            participant.expel(f"it took longer than {patience_s} s for a change")
            self._forget(participant)
        except StrataError as error:
            return error
        except Exception as error:  # noqa: BLE001 - whoever asked is told, by one fixed text
            return error
        return None

    def _forget(self, participant: Participant) -> None:
        self._participants = [each for each in self._participants if each is not participant]


class Here:
    """This process, as one that follows changes of some subjects; those of others do not concern it."""

    def __init__(self, subjects: Mapping[str, Subject]) -> None:
        self._subjects = subjects

    def prepare(self, change: Change) -> "Future[None]":
        """Make ready."""
        return self._step(change, lambda subject: subject.prepare(change.values))

    def commit(self, change: Change) -> "Future[None]":
        """Let what was prepared take effect."""
        return self._step(change, lambda subject: subject.commit(change.values))

    def abandon(self, change: Change) -> "Future[None]":
        """Drop what was prepared."""
        return self._step(change, lambda subject: subject.abandon(change.values))

    def _step(self, change: Change, step: Callable[[Subject], None]) -> "Future[None]":
        subject = self._subjects.get(change.subject)
        return settle(lambda: step(subject) if subject else None)

    def expel(self, reason: str) -> None:
        """Say it: there is no other process to go on with."""
        log.error("this process does not follow a change: %s", reason)


def settle(step: Callable[[], Result]) -> "Future[Result]":
    """Return a future of what is done now."""
    future: Future[Result] = Future()
    try:
        future.set_result(step())
    except Exception as error:  # noqa: BLE001 - it is told by the future
        future.set_exception(error)
    return future
