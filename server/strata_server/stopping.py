import signal
import threading
from types import FrameType


class Stopped(Exception):
    """The server was told to stop before it was ready."""


class StopSignal:
    """Whether SIGTERM or SIGINT has come."""

    def __init__(self) -> None:
        """Listen from now on."""
        self._came = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Return when one has come, or when the time is over; say whether one has."""
        return self._came.wait(timeout_s)

    def check(self) -> None:
        """Leave what is being started.

        Raises:
            Stopped: one has come.
        """
        if self._came.is_set():
            raise Stopped

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of a handler
        self._came.set()
