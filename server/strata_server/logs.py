"""What is logged, and how a line of the log looks; both can be changed while the server runs."""

import logging
import time
from collections.abc import Iterable

from strata_server.control import Json, Subject, Values
from strata_server.errors import InvalidArgument, quote

SUBJECT = "log"
"""Of the changes of these settings."""
TRACES = "strata.trace"
"""The logger of traces, which are asked for one by one: no switch of the log turns them off."""

_OURS = "strata_server"
_FORM = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_DEFAULTS: dict[str, Json] = {
    "log_file": "",
    "log_info": True,
    "log_warning": True,
    "log_error": True,
    "log_verbose_level": 0,
    "log_format": "default",
}
_SWITCHES = {logging.INFO: "log_info", logging.WARNING: "log_warning", logging.ERROR: "log_error"}
_FORMATS = ("default", "ISO8601")
_LARGEST_LEVEL = 2**31 - 1
# What would begin a new line, or steer a terminal, is written as Python writes it in text.
_ESCAPED = {code: repr(chr(code))[1:-1] for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)}


log = logging.getLogger(__name__)


class LineFormatter(logging.Formatter):
    """Makes one line of each message, whatever strangers have put into it."""

    def __init__(self) -> None:
        super().__init__(_FORM)
        self.is_iso8601 = False
        """Whether the time is in UTC and as ISO 8601 has it; else it is the local one."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging calls it
        """Return when a message was logged, to the millisecond."""
        if not self.is_iso8601:
            return super().formatTime(record, datefmt)
        return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z"

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - as above
        """Return the line; a traceback may follow it."""
        record.message = record.message.translate(_ESCAPED)
        return super().formatMessage(record)


def begin_logging() -> None:
    """Let all that is logged go to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])


class Logs(Subject):
    """The settings of this process's log; a subject of changes."""

    def __init__(self, handlers: Iterable[logging.Handler] = ()) -> None:
        """Watch over handlers, each with a `LineFormatter` where the format is to follow."""
        self._settings = dict(_DEFAULTS)
        self._handlers = list(handlers)
        for handler in self._handlers:
            handler.addFilter(self._lets_pass)

    @property
    def settings(self) -> dict[str, Json]:
        """All of them as they are."""
        return dict(self._settings)

    def prepare(self, values: Values) -> None:
        """Check settings."""
        for name, value in values.items():
            check_log_setting(name, value)

    def commit(self, values: Values) -> None:
        """Let settings take effect."""
        self._settings = {**self._settings, **{name: value for name, value in values.items() if value is not None}}
        verbose = bool(self._settings["log_verbose_level"])
        logging.getLogger(_OURS).setLevel(logging.DEBUG if verbose else logging.NOTSET)
        for handler in self._handlers:
            if isinstance(handler.formatter, LineFormatter):
                handler.formatter.is_iso8601 = self._settings["log_format"] == "ISO8601"
        log.info("log settings changed: %s", ", ".join(f"{name}={value!r}" for name, value in sorted(values.items())))

    def abandon(self, values: Values) -> None:
        """Do nothing: nothing was made ready."""

    def _lets_pass(self, record: logging.LogRecord) -> bool:
        if record.name == TRACES or record.levelno < logging.INFO:
            return True  # of the latter a logger's level decides
        level = max(level for level in _SWITCHES if level <= record.levelno)
        return bool(self._settings[_SWITCHES[level]])


def check_log_setting(name: str, value: Json) -> None:
    """Check a new setting.

    Raises:
        InvalidArgument: there is none of that name, it cannot have that value, or it would write to a file.
    """
    if name not in _DEFAULTS:
        raise InvalidArgument(f"expected a log setting of {', '.join(_DEFAULTS)}; received {quote(name)}")
    match name:
        case "log_file":
            expected, fits = "an empty text: the log goes to standard error, never to a file", value == ""
        case "log_format":
            expected, fits = " or ".join(_FORMATS), value in _FORMATS
        case "log_verbose_level":
            expected = f"a whole number from 0 to {_LARGEST_LEVEL}"
            fits = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST_LEVEL
        case _:
            expected, fits = "true or false", isinstance(value, bool)
    if not fits:
        raise InvalidArgument(f"{name}: expected {expected}; received {quote(str(value))}")
