import logging
import queue
import threading

import pytest
from google.protobuf.message import Message
from strata.v1 import catalog_pb2
from strata_server.batching import Batcher
from strata_server.deadline import Deadline
from strata_server.errors import NotFound
from strata_server.rpc.calls import Reply
from strata_server.rpc.dispatcher import Dispatcher
from strata_server.rpc.methods import Method
from strata_server.settings import BatchSettings
from waiting import wait_until


class Asked:
    """A call that keeps its reply."""

    def __init__(self, deadline: Deadline | None = None) -> None:
        self.deadline = deadline or Deadline()
        self._replies: queue.SimpleQueue[Reply] = queue.SimpleQueue()

    def reply(self, reply: Reply) -> None:
        self._replies.put(reply)

    def wait(self) -> Reply:
        return self._replies.get(timeout=20)


def method(error: BaseException | None = None, name: str = "here") -> Method:
    """Return a method that answers, or fails."""

    def handle(request: Message, deadline: Deadline) -> Message:  # noqa: ARG001 - a method has it
        assert isinstance(request, catalog_pb2.ListModelsRequest)
        if error:
            raise error
        return catalog_pb2.ListModelsResponse(models=[{"name": name}])

    return Method("some.Service", "List", catalog_pb2.ListModelsRequest, handle)


def take(method: Method, body: bytes = b"", deadline: Deadline | None = None, max_bytes: int = 2**20) -> Reply:
    call = Asked(deadline)
    Dispatcher(Batcher(BatchSettings()), max_bytes).take(method, body, call)
    return call.wait()


def test_an_answer_is_serialized() -> None:
    reply = take(method(), deadline=Deadline(60))
    assert catalog_pb2.ListModelsResponse.FromString(reply.body).models[0].name == "here"
    assert reply.status == "OK"


@pytest.mark.parametrize(
    ("deadline", "status"),
    [(Deadline(0), "DEADLINE_EXCEEDED"), (Deadline(60, is_waiting=lambda: False), "CANCELLED")],
    ids=["late", "hung up"],
)
def test_a_call_nobody_waits_for_is_not_handled(deadline: Deadline, status: str) -> None:
    reply = take(method(AssertionError("it was handled")), deadline=deadline)
    assert (reply.status, reply.body) == (status, b"")


def test_an_error_of_ours_is_told() -> None:
    assert take(method(NotFound("unknown layer 'x'"))).details == "unknown layer 'x'"


def test_bytes_that_are_no_message_are_an_invalid_argument() -> None:
    reply = take(method(), b"\xff")
    assert reply.status == "INVALID_ARGUMENT"
    assert reply.details == "expected a message strata.v1.ListModelsRequest, received 1 bytes that are none"


def test_an_answer_over_the_limit_is_refused() -> None:
    assert take(method(name="x" * 200_000), max_bytes=100_000).status == "RESOURCE_EXHAUSTED"


def test_what_takes_long_is_handled_on_another_thread_and_answered_all_the_same() -> None:
    dispatcher = Dispatcher(Batcher(BatchSettings()), 2**20)
    call = Asked()
    dispatcher.receive(method(), b"", call)
    assert call.wait().status == "OK"
    large = Asked()
    dispatcher.receive(method(), bytes(2**19), large)
    assert large.wait().status == "INVALID_ARGUMENT"


def test_large_messages_that_wait_to_be_read_are_bounded_and_taken_again_once_they_are_read() -> None:
    goes_on = threading.Event()

    def handle(request: Message, deadline: Deadline) -> Message:  # noqa: ARG001 - a method has it
        assert goes_on.wait(20)
        return catalog_pb2.ListModelsResponse()

    slow = Method("some.Service", "List", catalog_pb2.ListModelsRequest, handle)
    body = b"\x7a\x80\x80\x20" + bytes(2**19)  # a field that the message does not know
    dispatcher = Dispatcher(Batcher(BatchSettings()), 2**20, read_bytes=2**21)

    def ask() -> Asked:
        call = Asked()
        dispatcher.receive(slow, body, call)
        return call

    first = [ask() for _ in range(3)]
    refused = ask().wait()
    assert refused.status == "RESOURCE_EXHAUSTED"
    assert refused.details == (
        f"expected at most {2**21} bytes of requests to be read at a time, received {len(body)} behind {3 * len(body)}"
    )
    assert dict(refused.trailers)["grpc-retry-pushback-ms"] == "100"
    goes_on.set()
    assert [call.wait().status for call in first] == ["OK"] * 3
    wait_until(lambda: ask().wait().status == "OK", bound_s=5)


def test_an_unexpected_error_is_a_fixed_text_outside_and_a_traceback_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR):
        reply = take(method(ZeroDivisionError("/secret/path")))
    assert reply.status == "INTERNAL"
    assert "secret" not in reply.details
    request_id = reply.details.rsplit(maxsplit=1)[-1]
    assert request_id in caplog.text
    assert "ZeroDivisionError: /secret/path" in caplog.text
