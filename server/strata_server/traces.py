"""Which requests leave a line with their times in the log."""

import itertools
import json
import logging
import threading
import time
from dataclasses import dataclass, field

from strata_server.control import Subject, Values
from strata_server.errors import InvalidArgument, quote
from strata_server.logs import TRACES

SUBJECT = "trace"
"""Of the changes of these settings; a key is MODEL/SETTING, with an empty model for all that have none of their own."""

_DEFAULTS: dict[str, list[str]] = {
    "trace_file": [""],
    "trace_level": ["OFF"],
    "trace_rate": ["1000"],
    "trace_count": ["-1"],
    "log_frequency": ["0"],
    "trace_mode": ["triton"],
}
_LARGEST = 2**31 - 1
_LONGEST_ID = 128

log = logging.getLogger(TRACES)
_numbers = itertools.count(1)


@dataclass(slots=True)
class Trace:
    """When the stages of a request began and ended, in nanoseconds of the monotonic clock."""

    model: str
    version: int
    request_id: str
    request_start: int
    queue_start: int
    compute_start: int = 0
    compute_end: int = 0

    def note_run(self, start_ns: int, end_ns: int) -> None:
        """Note a run in which some or all of its rows were computed."""
        self.compute_start = self.compute_start or start_ns
        self.compute_end = end_ns

    def end(self) -> None:
        """Write the line: the answer is made, or has failed."""
        told = {
            "id": next(_numbers),
            "model_name": self.model,
            "model_version": self.version,
            "request_id": self.request_id[:_LONGEST_ID],
            "timestamps": {
                "request_start": self.request_start,
                "queue_start": self.queue_start,
                "compute_start": self.compute_start,
                "compute_end": self.compute_end,
                "request_end": time.monotonic_ns(),
            },
        }
        log.info("%s", json.dumps(told))


@dataclass(slots=True)
class Switch:
    """Something that is on or off."""

    is_on: bool = False


@dataclass(slots=True)
class _Scope:
    """The models that share settings, and what was counted of their requests."""

    settings: dict[str, list[str]]
    left: int = field(init=False)
    """How many may still be traced; -1 for any number."""
    seen: int = 0

    def __post_init__(self) -> None:
        self.left = int(self.settings["trace_count"][0])

    @property
    def is_on(self) -> bool:
        """Whether any request may be traced."""
        return self.settings["trace_level"] == ["TIMESTAMPS"]

    def takes(self) -> bool:
        """Count a request; return whether it is traced."""
        if not self.is_on or not self.left:
            return False
        self.seen += 1
        if self.seen % int(self.settings["trace_rate"][0]):
            return False
        self.left -= self.left > 0
        return True


class Traces(Subject):
    """The settings of this process's traces; a subject of changes."""

    def __init__(self) -> None:
        self.switch = Switch()
        """Whether any request may be traced: who serves one looks here before anything else."""
        self._given: dict[str, list[str]] = {}
        """By model and setting."""
        self._scopes = {"": _Scope(dict(_DEFAULTS))}
        self._lock = threading.Lock()

    def settings(self, model: str = "") -> dict[str, list[str]]:
        """Return those of a model, or of all that have none of their own; of the count, what is left of it."""
        with self._lock:
            scope = self._scopes.get(model, self._scopes[""])
            return {**scope.settings, "trace_count": [str(scope.left)]}

    def begin(self, model: str, version: int, request_id: str, start_ns: int) -> Trace | None:
        """Return the trace of a request that is about to wait for its run; None for one that leaves none."""
        with self._lock:
            if not self._scopes.get(model, self._scopes[""]).takes():
                return None
        return Trace(model, version, request_id, start_ns, time.monotonic_ns())

    def prepare(self, values: Values) -> None:
        """Check settings."""
        for key, value in values.items():
            told = list(map(str, value)) if isinstance(value, list) else None
            check_trace_setting(key.partition("/")[2], told)

    def commit(self, values: Values) -> None:
        """Let settings take effect; where they have changed, counts begin anew."""
        with self._lock:
            for key, value in values.items():
                if isinstance(value, list):
                    self._given[key] = [str(each) for each in value]
                else:
                    self._given.pop(key, None)
            models = {key.partition("/")[0] for key in self._given} | {""}
            self._scopes = {model: self._scope(model) for model in models}
            self.switch.is_on = any(scope.is_on for scope in self._scopes.values())

    def abandon(self, values: Values) -> None:
        """Do nothing: nothing was made ready."""

    def _scope(self, model: str) -> _Scope:
        """Return the scope that a model's settings make: the one that is there, if they are what they were."""
        settings = {
            name: self._given.get(f"{model}/{name}") or self._given.get(f"/{name}") or value
            for name, value in _DEFAULTS.items()
        }
        scope = self._scopes.get(model)
        return scope if scope and scope.settings == settings else _Scope(settings)


def check_trace_setting(name: str, value: list[str] | None) -> None:
    """Check a new setting; None takes it back.

    Raises:
        InvalidArgument: there is none of that name, it cannot have that value, or it would write to a file.
    """
    if name not in _DEFAULTS:
        raise InvalidArgument(f"expected a trace setting of {', '.join(_DEFAULTS)}; received {quote(name)}")
    if value is None:
        return
    match name:
        case "trace_file":
            expected, fits = "an empty text: traces go to the log, never to a file", value == [""]
        case "trace_level":
            expected = "OFF or TIMESTAMPS: values of tensors are never logged"
            fits = value in (["OFF"], ["TIMESTAMPS"])
        case "trace_rate":
            expected, fits = f"a whole number from 1 to {_LARGEST}", _is_number(value, 1)
        case "trace_count":
            expected, fits = f"a whole number from -1 to {_LARGEST}, -1 for any number", _is_number(value, -1)
        case "log_frequency":
            expected, fits = "0: each trace is logged when its request ends", value == ["0"]
        case _:
            expected, fits = "triton", value == ["triton"]
    if not fits:
        raise InvalidArgument(f"{name}: expected {expected}; received {quote(', '.join(value))}")


def _is_number(value: list[str], least: int) -> bool:
    if len(value) != 1 or len(value[0]) > len(str(_LARGEST)) or not value[0].removeprefix("-").isdecimal():
        return False
    return value[0].isascii() and least <= int(value[0]) <= _LARGEST
