import logging
import threading

import pytest
from google.protobuf.message import Message
from strata.v1 import catalog_pb2
from strata_server.deadline import Deadline
from strata_server.errors import Draining, NotFound, OverLimit
from strata_server.rpc.calls import Calls, Reply, answer
from strata_server.rpc.methods import Method


def method(error: BaseException | None = None) -> Method:
    """Return a method that answers, or fails."""

    def handle(request: Message, deadline: Deadline) -> Message:
        assert isinstance(request, catalog_pb2.ListModelsRequest)
        deadline.check()
        if error:
            raise error
        return catalog_pb2.ListModelsResponse(models=[{"name": "here"}])

    return Method("some.Service", "List", catalog_pb2.ListModelsRequest, handle)


def call(method: Method, body: bytes = b"", deadline: Deadline | None = None, max_bytes: int = 2**20) -> Reply:
    return answer(Calls(), method, body, deadline or Deadline(), max_bytes)


def test_an_answer_is_serialized() -> None:
    reply = call(method(), deadline=Deadline(60))
    assert catalog_pb2.ListModelsResponse.FromString(reply.body).models[0].name == "here"
    assert reply.status == "OK"


@pytest.mark.parametrize("deadline", [Deadline(0), Deadline(60, is_waiting=lambda: False)], ids=["late", "hung up"])
def test_a_call_nobody_waits_for_is_not_run(deadline: Deadline) -> None:
    reply = call(method(AssertionError("it was run")), deadline=deadline)
    assert (reply.status, reply.body) == ("DEADLINE_EXCEEDED", b"")


def test_an_error_of_ours_is_told_and_only_a_limit_forbids_to_retry() -> None:
    reply = call(method(NotFound("unknown layer 'x'")))
    assert (reply.status, reply.details, reply.trailers) == ("NOT_FOUND", "unknown layer 'x'", ())
    assert call(method(OverLimit(""))).trailers == (("grpc-retry-pushback-ms", "-1"),)


def test_a_long_reason_is_cut_so_that_the_status_arrives() -> None:
    assert len(call(method(NotFound("x" * 10**6))).details) == 1000


def test_an_answer_over_the_limit_is_refused() -> None:
    def handle(*_: object) -> Message:
        return catalog_pb2.ListModelsResponse(models=[{"name": "x" * 200_000}])

    reply = call(Method("some.Service", "List", catalog_pb2.ListModelsRequest, handle), max_bytes=100_000)
    assert reply.status == "RESOURCE_EXHAUSTED"


def test_an_unexpected_error_is_a_fixed_text_outside_and_a_traceback_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR):
        reply = call(method(ZeroDivisionError("/secret/path")))
    assert reply.status == "INTERNAL"
    assert "secret" not in reply.details
    request_id = reply.details.rsplit(maxsplit=1)[-1]
    assert request_id in caplog.text
    assert "ZeroDivisionError: /secret/path" in caplog.text


@pytest.mark.parametrize("error", [None, NotFound(""), ZeroDivisionError()])
def test_a_call_gives_its_turn_back_however_it_ends(error: Exception | None) -> None:
    calls = Calls(most_running=1)
    for body in (b"", b"\xff", b""):
        answer(calls, method(error), body, Deadline(60), 2**20)
    assert answer(calls, method(), b"", Deadline(60), 2**20).status == "OK"


def test_a_call_waits_for_its_turn_no_longer_than_its_deadline() -> None:
    calls = Calls(most_running=1)
    with calls.running(Deadline()):
        assert answer(calls, method(), b"", Deadline(0.01), 2**20).status == "DEADLINE_EXCEEDED"


def test_a_drain_waits_for_open_calls_and_refuses_new_ones() -> None:
    calls = Calls()
    calls.enter()
    assert not calls.drain(0)
    with pytest.raises(Draining):
        calls.enter()
    threading.Timer(0.05, calls.leave).start()
    assert calls.drain(20)
    assert calls.open == 0
