"""A bound on what is in memory at the same time."""

import threading


class Room:
    """Bytes that may be inside; what alone is larger may enter when nothing else is.

    Args:
        size: how many.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._inside = 0
        self._is_open = False
        self._changed = threading.Condition()

    def enter(self, size: int) -> None:
        """Wait until there is room."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_open or not self._inside or self._inside + size <= self._size)
            self._inside += size

    def leave(self, size: int) -> None:
        """Make room."""
        with self._changed:
            self._inside -= size
            self._changed.notify_all()

    def open(self) -> None:
        """Let everybody in: what is inside is no longer wanted."""
        with self._changed:
            self._is_open = True
            self._changed.notify_all()
