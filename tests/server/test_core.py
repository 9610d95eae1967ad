"""What rpc/core.py takes from grpcio, which promises nothing: each of it, against grpcio's own client."""

import importlib.metadata
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from strata_server.rpc.core import TESTED, CoreCall, Handle, Queue
from waiting import wait_until

OPTIONS = [("grpc.max_receive_message_length", 4 * 2**20), ("grpc.so_reuseport", 0)]
WAIT_S = 20


class Kept(CoreCall):
    """A call that answers as its path says, and notes what happens to it."""

    def __init__(self, path: bytes, ends_at: float, handle: Handle) -> None:
        super().__init__(handle)
        self.path = path
        self.ends_at = ends_at
        self.taken: list[bytes | None] = []
        self.is_closed = False
        self.watch()
        if path.startswith(b"/test/Stream"):
            self.open(lambda _: self.receive())
        else:
            self.receive()

    def take(self, data: bytes | None) -> None:
        self.taken.append(data)
        if self.path == b"/test/Echo":
            self.answer(data or b"", ignore)
        elif self.path == b"/test/Refuse":
            self.refuse(grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], "too much: ä", (("retry", "-1"),), ignore)
        elif self.path == b"/test/Stream":
            if data is None:
                self.end(grpc.StatusCode.DATA_LOSS.value[0], "over", (("last", "one"),), ignore)
            else:
                self.send(data, lambda _: self.receive(), more=data == b"more")

    def close(self) -> None:
        self.is_closed = True


def ignore(event: object) -> None:
    pass


class Served:
    """A queue that a thread polls."""

    def __init__(self) -> None:
        self.calls: list[Kept] = []
        self.queue = Queue("127.0.0.1:0", OPTIONS, lambda *begun: self.calls.append(Kept(*begun)))
        self.queue.start()
        self._thread = threading.Thread(target=self._poll)
        self._thread.start()
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.queue.port}")

    def stop(self) -> None:
        self.queue.stop()
        self._thread.join(WAIT_S)
        self.queue.close()

    def _poll(self) -> None:
        while not self.queue.has_stopped:
            self.queue.poll(0.05)


@pytest.fixture
def served() -> Iterator[Served]:
    served = Served()
    yield served
    served.channel.close()
    served.stop()


def ask(served: Served, path: str, body: bytes, timeout_s: float | None = WAIT_S) -> Any:
    method: Any = served.channel.unary_unary(path)
    return method(body, timeout=timeout_s)


def test_the_installed_grpcio_is_one_that_was_tested() -> None:
    installed = tuple(map(int, importlib.metadata.version("grpcio").split(".")[:2]))
    oldest, newest = (tuple(map(int, each.split("."))) for each in TESTED)
    assert oldest <= installed <= newest


@pytest.mark.parametrize("body", [b"", b"x", bytes(range(256)) * 8192], ids=len)
def test_a_message_goes_there_and_back(served: Served, body: bytes) -> None:
    assert ask(served, "/test/Echo", body) == body
    assert served.calls[0].path == b"/test/Echo"
    wait_until(lambda: served.calls[0].is_closed)


def test_a_refusal_brings_its_code_reason_and_trailers(served: Served) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        ask(served, "/test/Refuse", b"x")
    error: Any = caught.value
    assert (error.code(), error.details()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "too much: ä")
    assert list(error.trailing_metadata()) == [("retry", "-1")]


def test_the_deadline_is_known_and_there_may_be_none(served: Served) -> None:
    ask(served, "/test/Echo", b"", timeout_s=100)
    ask(served, "/test/Echo", b"", timeout_s=None)
    with_one, without = served.calls
    assert 90 < with_one.ends_at - time.time() < 102  # a timeout travels rounded up
    assert without.ends_at - time.time() > 1e9


def test_a_caller_that_hangs_up_is_noticed(served: Served) -> None:
    method: Any = served.channel.unary_unary("/test/Never")
    call = method.future(b"x")
    wait_until(lambda: bool(served.calls and served.calls[0].taken))
    assert not served.calls[0].is_closed
    call.cancel()
    wait_until(lambda: served.calls[0].is_closed)


def test_a_stream_brings_its_messages_in_order_and_a_status(served: Served) -> None:
    method: Any = served.channel.stream_stream("/test/Stream")
    bodies = [b"1", b"more", b"2", b""]
    answers = method(iter(bodies), timeout=WAIT_S)
    assert [next(answers) for _ in bodies] == bodies
    with pytest.raises(grpc.RpcError) as caught:
        next(answers)
    error: Any = caught.value
    assert (error.code(), error.details()) == (grpc.StatusCode.DATA_LOSS, "over")
    assert list(error.trailing_metadata()) == [("last", "one")]
    assert served.calls[0].taken == [*bodies, None]


def test_a_message_over_the_limit_is_refused_and_never_taken(served: Served) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        ask(served, "/test/Echo", bytes(5 * 2**20))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert b"" not in served.calls[0].taken


def test_an_answer_may_come_from_another_thread(served: Served) -> None:
    method: Any = served.channel.unary_unary("/test/Never")
    call = method.future(b"x", timeout=WAIT_S)
    wait_until(lambda: bool(served.calls and served.calls[0].taken))
    thread = threading.Thread(target=served.calls[0].answer, args=(b"late", ignore))
    thread.start()
    thread.join()
    assert call.result() == b"late"


def test_nothing_is_polled_where_nothing_happens(served: Served) -> None:
    served.channel.close()
    alone = Queue("127.0.0.1:0", OPTIONS, lambda *_: None)
    alone.start()
    assert not alone.poll(0)
    start = time.monotonic()
    assert not alone.poll(0.1)
    assert time.monotonic() - start >= 0.09
    alone.stop()
    while not alone.has_stopped:
        alone.poll(1)
    alone.close()


def test_a_taken_port_is_an_error(served: Served) -> None:
    with pytest.raises(OSError, match=r"port|bind|address"):
        Queue(f"127.0.0.1:{served.queue.port}", OPTIONS, lambda *_: None)


def test_open_calls_end_when_the_queue_stops() -> None:
    served = Served()
    method: Any = served.channel.unary_unary("/test/Never")
    call = method.future(b"x", timeout=WAIT_S)
    wait_until(lambda: bool(served.calls and served.calls[0].taken))
    served.stop()
    assert call.code() in {grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE}
    served.channel.close()
