"""How much of a stream is on its way at a time, so that a slow reader costs no memory."""

_MOST = 128
_MOST_AT_FIRST = 8  # until the first answer shows how large they are
_BYTES = 16 * 2**20


class Window:
    """The requests of one stream that have come and whose answers have not gone out."""

    def __init__(self) -> None:
        self.count = 0
        self._largest = 0
        self._most = _MOST_AT_FIRST

    @property
    def has_room(self) -> bool:
        """Whether the next request may come: answers as large as the largest so far must have room."""
        return self.count < min(self._most, 1 + _BYTES // max(1, self._largest))

    def take(self, request_bytes: int) -> None:
        """Count a request that has come."""
        self.count += 1
        self._largest = max(self._largest, request_bytes)

    def note(self, answer_bytes: int) -> None:
        """Learn how large answers are."""
        self._largest = max(self._largest, answer_bytes)
        self._most = _MOST

    def give(self) -> None:
        """Count a request no more: its answer has gone out."""
        self.count -= 1
