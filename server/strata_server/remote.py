"""Changes between a supervisor and its workers: lines of JSON over a socket pair, the same on both ends.

The supervisor sends the table first, then the steps of changes, of which the worker says how they ended. The worker
asks for changes of its own, and the supervisor answers.
"""

import itertools
import json
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from strata_server.control import Change, Listed, Subject
from strata_server.coordination import Coordinator, Gone, Table
from strata_server.errors import Draining, StrataError, Unservable

log = logging.getLogger(__name__)

Message = dict[str, Any]


class Line:
    """One end of a socket over which messages go both ways."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._lines = end.makefile("r", encoding="utf-8")
        self._lock = threading.Lock()

    def send(self, message: Message) -> bool:
        """Send a message; return whether there is still somebody at the other end."""
        try:
            with self._lock:
                self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            return False
        return True

    def receive(self) -> Message | None:
        """Return the next message; None when the other end has closed."""
        try:
            text = self._lines.readline()
        except OSError:
            return None
        return json.loads(text) if text else None

    def close(self) -> None:
        """Let go of it."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # whoever waits for a message wakes
        self._lines.close()
        self._socket.close()


class There:
    """A worker, as one that follows changes: the supervisor's end."""

    def __init__(self, end: socket.socket, coordinator: Coordinator, kill: Callable[[], None]) -> None:
        """Let a worker take part.

        Args:
            end: of the socket pair.
            coordinator: makes the changes.
            kill: ends the worker's process.
        """
        self._line = Line(end)
        self._coordinator = coordinator
        self._kill = kill
        self._numbers = itertools.count()
        self._steps: dict[int, Future[None]] = {}
        self._lock = threading.Lock()
        self._is_gone = False
        threading.Thread(target=self._listen, name="worker line", daemon=True).start()

    def prepare(self, change: Change) -> "Future[None]":
        """Let it make ready."""
        return self._step("prepare", change)

    def commit(self, change: Change) -> "Future[None]":
        """Let what was prepared take effect."""
        return self._step("commit", change)

    def abandon(self, change: Change) -> "Future[None]":
        """Let it drop what was prepared."""
        return self._step("abandon", change)

    def expel(self, reason: str) -> None:
        """End the worker."""
        log.error("a worker is ended: %s", reason)
        self._kill()

    def _begin(self, table: Table) -> None:
        self._line.send({"table": table})

    def _step(self, name: str, change: Change) -> "Future[None]":
        future: Future[None] = Future()
        with self._lock:
            number = next(self._numbers)
            if self._is_gone:
                future.set_exception(Gone())
                return future
            self._steps[number] = future
        self._line.send({"step": name, "number": number, "change": asdict(change)})
        return future

    def _listen(self) -> None:
        self._coordinator.join(self, self._begin)
        while (message := self._line.receive()) is not None:
            if "done" in message:
                with self._lock:
                    future = self._steps.pop(message["done"])
                _settle(future, message)
            else:
                self._take(message)
        with self._lock:
            self._is_gone = True
            steps, self._steps = self._steps, {}
        for future in steps.values():
            future.set_exception(Gone())
        self._coordinator.leave(self)
        self._line.close()

    def _take(self, message: Message) -> None:
        """Do what the worker asks for."""
        number = message["number"]
        try:
            match message["ask"]:
                case "change":
                    future: Future[Any] = self._coordinator.change(Change(**message["change"]))
                case "load":
                    future = self._coordinator.load(message["model"])
                case "unload":
                    future = self._coordinator.unload(message["model"])
                case _:
                    future = self._coordinator.index()
        except StrataError as error:
            self._line.send({"answer": number, "error": _write_error(error)})
            return
        future.add_done_callback(lambda done: self._line.send({"answer": number, **_write_outcome(done)}))


def _stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


class RemoteControl:
    """Changes as a worker asks for them and follows them: the worker's end."""

    def __init__(self, end: socket.socket) -> None:
        """Wait for the table."""
        self._line = Line(end)
        self._numbers = itertools.count()
        self._asked: dict[int, Future[Any]] = {}
        self._lock = threading.Lock()
        self.table: Table = (self._line.receive() or {}).get("table", {})

    def follow(self, subjects: Mapping[str, Subject], stop: Callable[[], None] = _stop) -> None:
        """Take part in all changes since the table.

        Args:
            subjects: what follows them, by name.
            stop: called when the supervisor has gone: nobody tells any more what changes.
        """
        threading.Thread(target=self._listen, args=(subjects, stop), name="changes", daemon=True).start()

    def change(self, change: Change) -> "Future[None]":
        """Make a change in all processes; the future raises the StrataError of the first that refused."""
        return self._ask({"ask": "change", "change": asdict(change)})

    def load(self, model: str) -> "Future[None]":
        """Serve what the model repository holds of a model now."""
        return self._ask({"ask": "load", "model": model})

    def unload(self, model: str) -> "Future[None]":
        """Serve a model no longer."""
        return self._ask({"ask": "unload", "model": model})

    def index(self) -> "Future[list[Listed]]":
        """Return every version in the model repository."""
        return self._ask({"ask": "index"}, lambda listed: [Listed(**each) for each in listed])

    def _ask(self, message: Message, read: Callable[[Any], Any] = lambda result: result) -> "Future[Any]":
        answer: Future[Any] = Future()
        with self._lock:
            number = next(self._numbers)
            self._asked[number] = answer
        read_answer: Future[Any] = Future()
        answer.add_done_callback(lambda done: _pass_on(done, read_answer, read))
        if not self._line.send({**message, "number": number}):
            self._give_up()
        return read_answer

    def _give_up(self) -> None:
        """Answer whoever waits: the supervisor has gone."""
        with self._lock:
            asked, self._asked = self._asked, {}
        for answer in asked.values():
            answer.set_exception(Draining("the server is stopping"))

    def _listen(self, subjects: Mapping[str, Subject], stop: Callable[[], None]) -> None:
        while (message := self._line.receive()) is not None:
            if "step" in message:
                error = _run_step(subjects, message["step"], Change(**message["change"]))
                self._line.send({"done": message["number"], "error": error})
            else:
                with self._lock:
                    answer = self._asked.pop(message["answer"])
                _settle(answer, message)
        self._give_up()
        self.close()
        stop()

    def close(self) -> None:
        """Leave the line."""
        self._line.close()


def _run_step(subjects: Mapping[str, Subject], step: str, change: Change) -> Message | None:
    """Run a step, and return what went wrong."""
    try:
        subject = subjects[change.subject]
        match step:
            case "prepare":
                subject.prepare(change.values)
            case "commit":
                subject.commit(change.values)
            case _:
                subject.abandon(change.values)
    except Exception as error:
        if not isinstance(error, StrataError):
            log.exception("%s of a change of %s failed", step, change.subject)
        return _write_error(error)
    return None


def _settle(future: "Future[Any]", message: Message) -> None:
    error = message.get("error")
    if error:
        future.set_exception(_read_error(error))
    else:
        future.set_result(message.get("result"))


def _pass_on(done: "Future[Any]", future: "Future[Any]", read: Callable[[Any], Any]) -> None:
    error = done.exception()
    if error:
        future.set_exception(error)
    else:
        future.set_result(read(done.result()))


def _write_outcome(done: "Future[Any]") -> Message:
    error = done.exception()
    if error:
        return {"error": _write_error(error)}
    result = done.result()
    return {"result": [asdict(each) for each in result] if isinstance(result, list) else None}


def _write_error(error: BaseException) -> Message:
    number = error.number if isinstance(error, Unservable) else 0
    return {"kind": type(error).__name__, "message": str(error), "number": number}


def _read_error(message: Message) -> Exception:
    """Return an error of ours as it was raised; of any other only that there was one."""
    if message["kind"] == Unservable.__name__:
        return Unservable(message["message"], message["number"])
    kinds = {kind.__name__: kind for kind in _descend(StrataError)}
    kind = kinds.get(message["kind"])
    return kind(message["message"]) if kind else RuntimeError(f"{message['kind']}: {message['message']}")


def _descend(kind: type[StrataError]) -> list[type[StrataError]]:
    return [kind, *(each for child in kind.__subclasses__() for each in _descend(child))]
