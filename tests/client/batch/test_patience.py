import threading
from collections.abc import Callable

import pytest
from strata_client.batch.errors import JobFailed
from strata_client.batch.patience import Patience
from strata_client.errors import (
    Cancelled,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    ServerError,
    StrataError,
    Unavailable,
)


def failing(error: StrataError, times: int) -> Callable[[], str]:
    left = iter(range(times))

    def call() -> str:
        if next(left, None) is not None:
            raise error
        return "answered"

    return call


def busy() -> ResourceExhausted:
    error = ResourceExhausted("too much to do")
    error.retry_after_s = 0.01
    return error


@pytest.mark.parametrize(
    "error",
    [
        Unavailable("away"),
        DeadlineExceeded("late"),
        NotFound("replaced"),
        Cancelled("cut short"),
        ServerError("once"),
        busy(),
    ],
)
def test_what_passes_is_waited_for(error: StrataError) -> None:
    assert Patience(30).insist(failing(error, 1)) == "answered"


@pytest.mark.parametrize("error", [InvalidArgument("wrong"), ResourceExhausted("over a limit")])
def test_what_would_be_the_same_again_is_raised_at_once(error: StrataError) -> None:
    with pytest.raises(type(error)):
        Patience(30).insist(failing(error, 1))


def test_a_server_that_fails_again_over_the_same_is_believed() -> None:
    with pytest.raises(ServerError):
        Patience(30).insist(failing(ServerError("again"), 2))


def test_what_a_caller_can_help_itself_is_left_to_it() -> None:
    with pytest.raises(DeadlineExceeded):
        Patience(30).insist(failing(DeadlineExceeded("late"), 1), once=(DeadlineExceeded,))


def test_when_nobody_answers_for_too_long_the_job_has_failed() -> None:
    with pytest.raises(JobFailed, match=r"no answer for \d+ s: away"):
        Patience(0).insist(failing(Unavailable("away"), 100))


def test_who_waits_can_be_told_to_stop() -> None:
    patience, ended = Patience(300), threading.Event()

    def wait() -> None:
        with pytest.raises(JobFailed, match="stopped"):
            patience.insist(failing(Unavailable("away"), 1000))
        ended.set()

    thread = threading.Thread(target=wait)
    thread.start()
    patience.stop()
    thread.join(10)
    assert ended.is_set()
