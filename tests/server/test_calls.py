import logging
import threading

import pytest
from google.protobuf.message import Message
from strata.v1 import catalog_pb2
from strata_server.errors import NotFound, OverLimit
from strata_server.rpc.calls import Calls, answer
from strata_server.rpc.methods import Method


def method(error: BaseException | None = None) -> Method:
    """Return a method that answers, or fails."""

    def handle(request: Message) -> Message:
        assert isinstance(request, catalog_pb2.ListModelsRequest)
        if error:
            raise error
        return catalog_pb2.ListModelsResponse(models=[{"name": "here"}])

    return Method("some.Service", "List", catalog_pb2.ListModelsRequest, handle)


def test_an_answer_is_serialized() -> None:
    reply = answer(Calls(), method(), b"", 1.0)
    assert catalog_pb2.ListModelsResponse.FromString(reply.body).models[0].name == "here"
    assert reply.status == "OK"


def test_a_call_past_its_deadline_is_not_run() -> None:
    reply = answer(Calls(), method(AssertionError("it was run")), b"", 0.0)
    assert (reply.status, reply.body) == ("DEADLINE_EXCEEDED", b"")


def test_an_error_of_ours_is_told_and_only_a_limit_forbids_to_retry() -> None:
    reply = answer(Calls(), method(NotFound("unknown layer 'x'")), b"", None)
    assert (reply.status, reply.details, reply.trailers) == ("NOT_FOUND", "unknown layer 'x'", ())
    assert answer(Calls(), method(OverLimit("")), b"", None).trailers == (("grpc-retry-pushback-ms", "-1"),)


def test_an_unexpected_error_is_a_fixed_text_outside_and_a_traceback_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR):
        reply = answer(Calls(), method(ZeroDivisionError("/secret/path")), b"", None)
    assert reply.status == "INTERNAL"
    assert "secret" not in reply.details
    request_id = reply.details.rsplit(maxsplit=1)[-1]
    assert request_id in caplog.text
    assert "ZeroDivisionError: /secret/path" in caplog.text


@pytest.mark.parametrize("error", [None, NotFound(""), ZeroDivisionError()])
def test_every_call_is_counted_until_it_ends_however_it_ends(error: Exception | None) -> None:
    calls = Calls()
    answer(calls, method(error), b"", None)
    answer(calls, method(error), b"\xff", None)
    assert calls.running == 0


def test_a_drain_waits_for_running_calls_and_refuses_new_ones() -> None:
    calls, entered, leave = Calls(), threading.Event(), threading.Event()

    def run() -> None:
        with calls.admitted():
            entered.set()
            leave.wait(20)

    thread = threading.Thread(target=run)
    thread.start()
    assert entered.wait(20)
    assert not calls.drain(0)
    assert answer(calls, method(), b"", None).status == "UNAVAILABLE"
    leave.set()
    assert calls.drain(20)
    thread.join()
