"""The answers that are on their way: bounded in bytes, of all requests together."""

from collections.abc import Iterator
from contextlib import contextmanager

from strata_server.errors import Overloaded

_AT_A_TIME_BYTES = 512 * 2**20
_AGAIN_S = 0.1


class Answers:
    """Counts answers from when they are there until they have gone out."""

    def __init__(self, at_a_time_bytes: int = _AT_A_TIME_BYTES) -> None:
        """Set how many bytes there may be of them; one alone may always have more."""
        self._most_bytes = at_a_time_bytes
        self._bytes = 0

    @contextmanager
    def hold(self) -> Iterator["Answer"]:
        """Give what counts one answer; its bytes count as long as the block lasts."""
        answer = Answer(self)
        try:
            yield answer
        finally:
            self._bytes -= answer.held_bytes

    def count(self, answer: "Answer", size: int) -> None:
        """Count so many bytes for an answer, in place of those before.

        Raises:
            Overloaded: too many are on their way.
        """
        others = self._bytes - answer.held_bytes
        if others and others + size > self._most_bytes:
            expected = f"expected at most {self._most_bytes} bytes of answers at a time"
            raise Overloaded(f"{expected}, received a request for {size} beside {others}", _AGAIN_S)
        self._bytes = others + size
        answer.held_bytes = size


class Answer:
    """One answer on its way."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self.held_bytes = 0
        """How many bytes count for it."""

    def count(self, size: int) -> None:
        """Count its bytes, now that so many are known; raises as `Answers.count`."""
        self._answers.count(self, size)
