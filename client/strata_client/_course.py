"""The requests of a stream, without the way between: in which order, how many at a time, and which ones go again."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from strata.v1.inference_pb2 import StreamRequest, StreamResponse

from strata_client.errors import DeadlineExceeded, InvalidArgument, StrataError, Unavailable

# How many more may be on their way for each answer: a window of 64 is whole again after 500 of them.
_GROWTH = 1 / 8

Answer = TypeVar("Answer")
Inputs = TypeVar("Inputs")


@dataclass(slots=True)
class _Asked:
    """A request that has no outcome yet."""

    number: int
    request: StreamRequest
    until: float
    """When its caller waits no more."""
    sent: int = 0
    """How often."""
    is_sent: bool = False
    """Whether it is on its way, and does not wait to be sent."""


class Course(Generic[Inputs, Answer]):
    """What is asked on a stream, until its outcome is given to the caller.

    Outcomes are given in the order of the requests, and `window` bounds how many there are between: those that are on
    their way, wait to be sent again, or have an outcome that nobody has taken. Times are seconds of one clock.
    """

    def __init__(
        self,
        write: Callable[[Inputs], StreamRequest],
        read: Callable[[StreamResponse], Answer],
        repeat: Callable[[StrataError, int], float | None],
        window: int,
        timeout_s: float,
    ) -> None:
        """Begin with nothing asked.

        Args:
            write: makes a request of an input; raises the StrataError that is then its outcome.
            read: makes an answer of a response; raises the StrataError that it tells, or that it is none.
            repeat: takes an error and how often its request was sent, and returns in how many seconds to send it
                again; None for never.
            window: how many requests there may be between.
            timeout_s: how long each of them may take.

        Raises:
            InvalidArgument: there is no room in the window.
        """
        if window < 1:
            raise InvalidArgument(f"window: expected 1 or more; received {window}")
        self._write = write
        self._read = read
        self._repeat = repeat
        self._window = window
        self._timeout_s = timeout_s
        self._asked: dict[str, _Asked] = {}
        """By their ids, in the order in which they were asked, so that the first is the first to be late."""
        self._outcomes: dict[int, Answer | StrataError] = {}
        self._waiting: list[tuple[float, int]] = []
        """When to send which, the earliest first."""
        self._resumes_at = 0.0
        """Nothing is sent before: a call was lost."""
        self._pace = float(window)
        """How many may be on their way. One after a lost call: a server that has just come back is not overrun, what
        breaks every call breaks it alone, and who refuses the call itself is heard. Half as many for each that a
        server had no room for."""
        self._on_way = 0
        self._quiet_since = 0.0
        """When something came last, or was first sent that something may come to."""
        self._given = self._count = 0
        self._is_over = False
        self._error: Exception | None = None

    @property
    def wants_more(self) -> bool:
        """Whether there may be one more input, and room for it."""
        return not self._is_over and self._count - self._given < self._window

    @property
    def is_waiting(self) -> bool:
        """Whether something is asked that has no outcome yet."""
        return bool(self._asked)

    @property
    def is_done(self) -> bool:
        """Whether there are no more inputs, and every outcome was given."""
        return self._is_over and self._count == self._given

    @property
    def is_ready(self) -> bool:
        """Whether `give` has an outcome."""
        return self._given in self._outcomes

    def give(self) -> Answer | StrataError:
        """Return the next outcome; there must be one."""
        outcome = self._outcomes.pop(self._given)
        self._given += 1
        return outcome

    def offer(self, inputs: Inputs, now: float) -> None:
        """Ask for one more input; `take_due` then has its request. What is no input ends the course."""
        try:
            request = self._write(inputs)
        except StrataError as error:
            self._outcomes[self._count] = error
            self._count += 1
            return
        except Exception as error:  # noqa: BLE001 - the caller gets it, after what was asked before
            self.end(error)
            return
        request.id = str(self._count)
        self._asked[request.id] = _Asked(self._count, request, now + self._timeout_s)
        heapq.heappush(self._waiting, (max(now, self._resumes_at), self._count))
        self._count += 1

    def end(self, error: Exception | None = None) -> None:
        """Note that there are no more inputs; an error is the reason, which the caller gets in the end."""
        self._is_over, self._error = True, error

    def finish(self) -> None:
        """Raise why the inputs have ended, if that was an error; everything else was given."""
        if self._error:
            raise self._error

    def leave(self, now: float) -> StrataError | None:
        """Give up the call where a request is late and nothing at all has come for as long as it may take.

        Returns:
            Why, where it is given up: what is on its way and not late goes again, on another one.
        """
        first = next(iter(self._asked.values()), None)
        is_late = first is not None and first.is_sent and first.until <= now
        if not is_late or self._quiet_since + self._timeout_s > now:
            return None
        self._expire(now)
        late = self._write_late()
        self.lose(Unavailable(), now, late)
        return late

    def take_due(self, now: float) -> list[StreamRequest]:
        """Return the requests that are to be sent now."""
        self._expire(now)
        due: list[StreamRequest] = []
        while self._waiting and self._waiting[0][0] <= now and self._may_send:
            since, number = heapq.heappop(self._waiting)
            asked = self._asked.get(str(number))
            if asked:
                if not self._on_way:
                    self._quiet_since = max(self._quiet_since, since)
                asked.sent += 1
                self._move(asked, is_sent=True)
                asked.request.timeout_us = max(1, round((asked.until - now) * 1e6))
                due.append(asked.request)
        return due

    @property
    def _may_send(self) -> bool:
        return self._on_way + 1 <= self._pace

    def _move(self, asked: _Asked, *, is_sent: bool) -> None:
        """Note whether a request is on its way."""
        self._on_way += int(is_sent) - int(asked.is_sent)
        asked.is_sent = is_sent

    def wait_s(self, now: float) -> float:
        """Return in how many seconds there is something to do even if nothing comes; something must be asked."""
        first = next(iter(self._asked.values()))
        times = [time for time, _ in self._waiting[:1]] if self._may_send else []
        return max(0.0, min([first.until, *times]) - now)

    def receive(self, response: StreamResponse, now: float) -> None:
        """Take what came; a response to what nobody waits for any more is passed over."""
        self._quiet_since = now
        asked = self._asked.get(response.id)
        if not asked:
            return
        wait_s = None
        try:
            self._settle(asked, self._read(response))
        except StrataError as error:
            wait_s = self._repeat(error, asked.sent)
            self._fail(asked, error, now, wait_s)
        self._pace = min(self._window, self._pace + _GROWTH) if wait_s is None else max(1.0, self._pace / 2)

    def lose(self, error: StrataError, now: float, outcome: StrataError | None = None) -> None:
        """Take that the call has ended: nothing comes to what is on its way.

        Args:
            error: decides what is sent again.
            now: the time.
            outcome: that of what is not; None for the error.
        """
        self._pace = 1.0
        waits = [(asked, self._repeat(error, asked.sent)) for asked in self._asked.values() if asked.is_sent]
        # One wait for all of them, that of the first: they go in their order.
        wait_s = next((each for _, each in waits if each is not None), 0.0)
        self._resumes_at = now + wait_s
        for asked, each in waits:
            self._fail(asked, outcome or error, now, None if each is None else wait_s)
        self._waiting = [(max(time, self._resumes_at), number) for time, number in self._waiting]
        heapq.heapify(self._waiting)

    def _fail(self, asked: _Asked, error: StrataError, now: float, wait_s: float | None) -> None:
        """Let a request be sent again, if that may help and there is time for it."""
        if wait_s is None or now + wait_s >= asked.until:
            self._settle(asked, error)
            return
        self._move(asked, is_sent=False)
        heapq.heappush(self._waiting, (now + wait_s, asked.number))

    def _settle(self, asked: _Asked, outcome: Answer | StrataError) -> None:
        self._move(asked, is_sent=False)
        del self._asked[asked.request.id]
        self._outcomes[asked.number] = outcome

    def _expire(self, now: float) -> None:
        """Give up what is late: it was asked first, for all may take as long."""
        while self._asked and (first := next(iter(self._asked.values()))).until <= now:
            self._settle(first, self._write_late())

    def _write_late(self) -> DeadlineExceeded:
        return DeadlineExceeded(f"no answer within {self._timeout_s:g} s")
