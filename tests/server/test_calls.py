import threading

import pytest
from strata_server.errors import (
    DeadlinePassed,
    Draining,
    NotFound,
    OverLimit,
    Overloaded,
    StrataError,
    Unservable,
)
from strata_server.rpc.calls import Calls, read_refusal, refuse


def test_an_error_of_ours_is_told_and_only_what_is_over_a_limit_is_never_to_be_retried() -> None:
    reply = refuse(NotFound("unknown layer 'x'"))
    assert (reply.status, reply.details, reply.trailers) == ("NOT_FOUND", "unknown layer 'x'", ())
    assert refuse(OverLimit("")).trailers == (("grpc-retry-pushback-ms", "-1"),)


@pytest.mark.parametrize(("wait_s", "pushback"), [(0.0, "1"), (0.25, "250"), (1e9, "60000")])
def test_an_overloaded_server_says_when_to_try_again(wait_s: float, pushback: str) -> None:
    reply = refuse(Overloaded("the queue is full", wait_s))
    assert reply.status == "RESOURCE_EXHAUSTED"
    assert reply.trailers == (("grpc-retry-pushback-ms", pushback),)


def test_a_long_reason_is_cut_so_that_the_status_arrives() -> None:
    assert len(refuse(NotFound("x" * 10**6)).details) == 1000


def test_a_drain_waits_for_open_calls_and_refuses_new_ones() -> None:
    calls = Calls()
    calls.enter()
    assert not calls.drain(0)
    with pytest.raises(Draining):
        calls.enter()
    threading.Timer(0.05, calls.leave).start()
    assert calls.drain(20)
    assert calls.open == 0


@pytest.mark.parametrize(
    "error",
    [
        NotFound("unknown layer 'x'"),
        OverLimit("too large"),
        Overloaded("full", 1.5),
        DeadlinePassed("late"),
        Draining("stopping"),
        Unservable("broken"),
        StrataError("internal error"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_a_refusal_tells_can_be_read_back(error: StrataError) -> None:
    read = read_refusal(refuse(error))
    assert (type(read), str(read)) == (type(error), str(error))
    assert getattr(read, "retry_s", None) == getattr(error, "retry_s", None)
