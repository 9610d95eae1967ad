"""Many small inputs on one call."""

import asyncio
import itertools
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, aclosing
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from artifacts import SIDE, assert_close, tiny_answer, write_artifact
from processes import ServerProcess, serving
from strata.v1.catalog_pb2 import ListModelsResponse
from strata.v1.inference_pb2 import Error, PredictResponse, StreamRequest, StreamResponse
from strata_client import (
    Activations,
    AsyncClient,
    Cancelled,
    Client,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    Predictions,
    ResourceExhausted,
    Retries,
    StrataError,
    Unavailable,
    open_artifact,
)
from strata_client._shared import Inputs
from waiting import wait_until

Peer = Callable[..., AbstractContextManager[str]]
Requests = Iterator[StreamRequest]

QUICK = Retries(first_wait_s=0.01)


def rows(count: int = 1, seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).random((count, SIDE, SIDE, 1), np.float32)


IMAGES = [rows(1 + seed % 3, seed) for seed in range(150)]


def check(answers: list[Activations | StrataError]) -> None:
    """Check that these are the scores of all images, in their order."""
    assert len(answers) == len(IMAGES)
    for image, answer in zip(IMAGES, answers, strict=True):
        assert isinstance(answer, Activations)
        assert_close(answer["scores"], tiny_answer(image)["scores"])


async def take(client: AsyncClient, *arguments: Any, **keywords: Any) -> list[Any]:
    async with client:
        return [answer async for answer in client.stream(*arguments, **keywords)]


def test_activations_come_in_the_order_of_the_inputs(client: Client) -> None:
    check(list(client.stream(IMAGES, ["scores"], window=16)))


def test_the_asynchronous_client_gives_the_same(tiny: ServerProcess) -> None:
    check(asyncio.run(take(AsyncClient(tiny.grpc), IMAGES, ["scores"], window=16)))


def test_a_client_without_a_server_gives_the_same(tmp_path: Path) -> None:
    with open_artifact(write_artifact(tmp_path), threads=1) as client:
        check(list(client.stream(IMAGES, ["scores"])))
        wrong, right = client.stream([rows()[:, :2], rows()])
        assert isinstance(wrong, InvalidArgument)
        assert isinstance(right, Predictions)


def test_without_layers_predictions_are_given(client: Client, picture: Path) -> None:
    inputs: list[Inputs] = [rows(2), picture, {"flat": rows().reshape(1, -1)}]
    answers = list(client.stream(inputs, top=1, model="tiny:1"))
    for each, answer in zip(inputs, answers, strict=True):
        assert isinstance(answer, Predictions)
        assert (answer.version, len(answer[0].labels)) == ("1", 1)
        assert answer.rows == client.predict(each, top=1).rows


def test_layers_are_reduced_as_asked(client: Client) -> None:
    (answer,) = client.stream([rows(2)], ["double", "scores"], reduce={"double": "mean", "scores": "top:2"})
    assert isinstance(answer, Activations)
    assert_close(answer["double"], (2 * rows(2)).mean((1, 2)))
    assert answer.channels["scores"].shape == (2, 2)


def test_inputs_without_an_end_are_taken_as_answers_are(client: Client) -> None:
    taken: list[int] = []

    def without_end() -> Iterator[Inputs]:
        for number in itertools.count():
            taken.append(number)
            yield IMAGES[number % len(IMAGES)]

    stream = client.stream(without_end(), ["scores"], window=8)
    assert not taken
    for given in range(200):
        next(stream)
        assert len(taken) <= given + 8


def test_a_request_that_fails_has_its_error_in_its_place_and_the_others_their_answers(tiny: ServerProcess) -> None:
    inputs: list[Inputs] = [
        rows(),
        rows()[:, :2],
        rows(4000),
        {"flat": np.ones((1, 16), np.float32)},
        [b"no picture"],
        rows(),
    ]
    with Client(tiny.grpc, max_message_bytes=100_000) as client:
        kinds = [type(answer) for answer in client.stream(inputs, ["double"])]
    assert kinds == [
        Activations,
        InvalidArgument,
        ResourceExhausted,
        InvalidArgument,
        InvalidArgument,
        Activations,
    ]


def test_the_text_of_an_error_is_that_of_a_call(client: Client) -> None:
    (answer,) = client.stream([rows()], ["doubel"])
    assert isinstance(answer, NotFound)
    assert str(answer) == "model tiny: unknown layer 'doubel'; nearest: 'double'"


def fail_after(count: int, error: Exception) -> Iterator[npt.NDArray[np.float32]]:
    yield from IMAGES[:count]
    raise error


def test_an_error_of_the_inputs_reaches_the_caller_after_the_answers_before_it(tiny: ServerProcess) -> None:
    with Client(tiny.grpc) as client:
        stream = client.stream(fail_after(3, OSError("no disk")), ["scores"])
        assert [len(next(stream)["scores"]) for _ in range(3)] == [1, 2, 3]  # type: ignore[index]
        with pytest.raises(OSError, match="no disk"):
            next(stream)
        with pytest.raises(TypeError, match="inputs: expected a numpy array"):
            list(client.stream([rows(), 7]))  # type: ignore[list-item]
        paths = client.stream([rows(), "none.png"])
        assert isinstance(next(paths), Predictions)
        with pytest.raises(FileNotFoundError):
            next(paths)
    with pytest.raises(OSError, match="no disk"):
        asyncio.run(take(AsyncClient(tiny.grpc), fail_after(3, OSError("no disk")), ["scores"]))


@pytest.mark.parametrize(
    ("arguments", "error", "reason"),
    [
        ({"window": 0}, InvalidArgument, "window: expected 1 or more; received 0"),
        ({"timeout_s": 0}, InvalidArgument, "timeout_s"),
        ({"top": -1}, InvalidArgument, "top: expected a number"),
        ({"layers": "scores"}, TypeError, "expected a list of names"),
        ({"layers": ["scores"], "reduce": "median"}, InvalidArgument, "median"),
        ({"inputs": 7}, TypeError, "not iterable"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_asked(
    arguments: dict[str, Any], error: type[Exception], reason: str
) -> None:
    for client in (Client(), AsyncClient()):
        with pytest.raises(error, match=reason):
            client.stream(**{"inputs": [rows()], **arguments})


def answer(request: StreamRequest) -> StreamResponse:
    """Answer with what the request is known by: the first pixel."""
    pixel = np.frombuffer(request.predict.tensors.tensors[0].data, np.float32)[0]
    response = PredictResponse(predictions=[{"labels": [{"name": str(int(pixel)), "score": 1}]}])
    return StreamResponse(id=request.id, predict=response)


def numbered(count: int) -> Iterator[npt.NDArray[np.float32]]:
    return (np.full((1, 1), number, np.float32) for number in range(count))


def labels(answers: list[Predictions | StrataError]) -> list[str]:
    return [each[0].label if isinstance(each, Predictions) else type(each).__name__ for each in answers]


class Breaking:
    """Answers a number of requests of each call, then breaks it."""

    def __init__(self, *counts: int) -> None:
        self._counts = iter(counts)
        self.calls = 0
        self.seen: list[int] = []

    def __call__(self, requests: Requests, context: grpc.ServicerContext) -> Iterator[StreamResponse]:
        self.calls += 1
        count = next(self._counts, None)
        for number, request in enumerate(requests):
            if number == count:
                context.abort(grpc.StatusCode.UNAVAILABLE, "broken")
            self.seen.append(int(request.id))
            yield answer(request)


def test_what_waits_when_a_connection_breaks_is_sent_again_on_another_call(peer: Peer) -> None:
    breaking = Breaking(3, 0, 10)
    with peer({"Stream": breaking}) as address, Client(address, retries=QUICK) as client:
        answers = list(client.stream(numbered(40), window=16))
    assert labels(answers) == [str(number) for number in range(40)]
    assert breaking.calls == 4
    assert len(breaking.seen) - len(set(breaking.seen)) <= 13  # answered, but perhaps not received


def test_the_asynchronous_client_sends_again_as_well(peer: Peer) -> None:
    breaking = Breaking(3, 0, 10)
    with peer({"Stream": breaking}) as address:
        answers = asyncio.run(take(AsyncClient(address, retries=QUICK), numbered(40), window=16))
    assert labels(answers) == [str(number) for number in range(40)]
    assert breaking.calls == 4


def test_a_connection_that_breaks_too_often_is_the_outcome_of_what_waits(peer: Peer) -> None:
    breaking = Breaking(1, 0, 0)
    retries = Retries(attempts=3, first_wait_s=0.01)
    with peer({"Stream": breaking}) as address, Client(address, retries=retries) as client:
        answers = list(client.stream(numbered(3), window=2))
    assert labels(answers) == ["0", "Unavailable", "2"]
    assert str(answers[1]) == f"{address}: broken"


def test_without_repetitions_a_break_is_the_outcome_at_once(peer: Peer) -> None:
    with peer({"Stream": Breaking(1)}) as address, Client(address, retries=Retries(attempts=1)) as client:
        answers = list(client.stream(numbered(4), window=2))
    assert labels(answers)[0] == "0"
    assert "Unavailable" in labels(answers)
    assert labels(answers)[-1] == "3"


def test_nobody_at_the_address_is_the_outcome_of_each() -> None:
    with Client("localhost:1", retries=Retries(attempts=2, first_wait_s=0)) as client:
        answers = list(client.stream(numbered(2)))
    assert [str(each) for each in answers] == ["no server answers at localhost:1: Connection refused"] * 2
    assert isinstance(answers[0], Unavailable)


class Refusing:
    """Refuses the second request a number of times."""

    def __init__(self, times: int, retry_after_ms: int) -> None:
        self._times = times
        self._retry_after_ms = retry_after_ms
        self.seen: list[str] = []

    def __call__(self, requests: Requests, _: grpc.ServicerContext) -> Iterator[StreamResponse]:
        for request in requests:
            self.seen.append(request.id)
            if request.id == "1" and self.seen.count("1") <= self._times:
                error = Error(code=8, message="full", retry_after_ms=self._retry_after_ms)
                yield StreamResponse(id=request.id, error=error)
            else:
                yield answer(request)


@pytest.mark.parametrize("retry_after_ms", [0, 20])
def test_what_a_server_has_no_room_for_is_sent_again_and_keeps_its_place(peer: Peer, retry_after_ms: int) -> None:
    refusing = Refusing(2, retry_after_ms)
    with peer({"Stream": refusing}) as address, Client(address, retries=QUICK) as client:
        assert labels(list(client.stream(numbered(5)))) == ["0", "1", "2", "3", "4"]
    assert sorted(refusing.seen) == ["0", "1", "1", "1", "2", "3", "4"]


def test_what_will_never_fit_is_sent_once(peer: Peer) -> None:
    refusing = Refusing(1, -1)
    with peer({"Stream": refusing}) as address, Client(address, retries=QUICK) as client:
        assert labels(list(client.stream(numbered(3)))) == ["0", "ResourceExhausted", "2"]
    assert sorted(refusing.seen) == ["0", "1", "2"]


class Silent:
    """Answers the first request alone, and notes when its caller is gone."""

    def __init__(self) -> None:
        self.gone = threading.Event()

    def __call__(self, requests: Requests, context: grpc.ServicerContext) -> Iterator[StreamResponse]:
        context.add_callback(self.gone.set)
        yield answer(next(requests))
        assert self.gone.wait(20)


def test_an_answer_that_does_not_come_in_time_is_an_error_in_its_place(peer: Peer) -> None:
    with peer({"Stream": Silent()}) as address, Client(address) as client:
        first, second = client.stream(numbered(2), timeout_s=0.3)
    assert labels([first, second]) == ["0", "DeadlineExceeded"]
    assert isinstance(second, DeadlineExceeded)
    assert str(second) == "no answer within 0.3 s"


def counted(answers: threading.Semaphore) -> Callable[[Requests, Any], Iterator[StreamResponse]]:
    """Answer everything, and count."""

    def serve(requests: Requests, _: Any) -> Iterator[StreamResponse]:
        for request in requests:
            yield answer(request)
            answers.release()  # gRPC asks for the next one when this one is on its way

    return serve


SHORT_S = 0.5


def dawdle(answers: threading.Semaphore) -> None:
    """Do something else until two answers were given, and longer than a request may take."""
    began = time.monotonic()
    for _ in range(2):
        assert answers.acquire(timeout=20)
    wait_until(lambda: time.monotonic() > began + 1.5 * SHORT_S)


def test_what_was_answered_while_the_caller_did_something_else_is_not_late(peer: Peer) -> None:
    def slow() -> Iterator[npt.NDArray[np.float32]]:
        yield from numbered(2)
        dawdle(answers)
        yield from numbered(1)

    answers = threading.Semaphore(0)
    with peer({"Stream": counted(answers)}) as address, Client(address) as client:
        assert labels(list(client.stream(slow(), timeout_s=SHORT_S))) == ["0", "1", "0"]


def test_what_was_answered_while_a_task_did_something_else_is_not_late(peer: Peer) -> None:
    async def ask(address: str) -> list[Any]:
        found: list[Any] = []
        async with AsyncClient(address) as client:
            async for each in client.stream(numbered(3), window=2, timeout_s=SHORT_S):
                if not found:
                    await asyncio.to_thread(dawdle, answers)
                found.append(each)
        return found

    answers = threading.Semaphore(0)
    with peer({"Stream": counted(answers)}) as address:
        assert labels(asyncio.run(ask(address))) == ["0", "1", "2"]


class Hanging:
    """Answers nothing, and counts how often it was asked to."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, _: Any, context: grpc.ServicerContext) -> Any:
        gone = threading.Event()
        context.add_callback(gone.set)
        self.calls += 1
        assert gone.wait(20)
        return iter(())


def list_nothing(*_: Any) -> ListModelsResponse:
    return ListModelsResponse()


def test_a_stream_leaves_a_server_that_hangs_and_calls_pass_it_over(peer: Peer) -> None:
    hanging, other = Hanging(), {"Stream": Breaking(), "ListModels": list_nothing}
    with peer({"Stream": hanging, "ListModels": hanging}) as first, peer(other) as second:
        with Client([first, second], timeout_s=0.6) as client:
            answers = labels(list(client.stream(numbered(12), window=4)))
            assert answers == ["DeadlineExceeded"] * 4 + [str(number) for number in range(4, 12)]
            assert client.models() == []
        found = asyncio.run(take(AsyncClient([first, second]), numbered(12), window=4, timeout_s=0.6))
    assert labels(found) == answers
    assert hanging.calls == 2


def test_after_a_call_that_was_too_late_the_next_goes_to_another_server(peer: Peer) -> None:
    hanging = Hanging()
    with (
        peer({"ListModels": hanging}) as first,
        peer({"ListModels": list_nothing}) as second,
        Client([first, second]) as client,
    ):
        with pytest.raises(DeadlineExceeded):
            client.models(timeout_s=0.3)
        assert [client.models() for _ in range(4)] == [[]] * 4
    assert hanging.calls == 1


def test_leaving_the_loop_ends_the_call_and_leaves_no_thread(peer: Peer) -> None:
    silent = Silent()
    with peer({"Stream": silent}) as address, Client(address) as client:
        before = {thread.ident for thread in threading.enumerate()}
        for each in client.stream(numbered(1000)):
            assert labels([each]) == ["0"]
            break
        assert silent.gone.wait(20)
        named = {"strata-stream"}
        assert not named & {thread.name for thread in threading.enumerate() if thread.ident not in before}
    wait_until(lambda: not any("consumption" in thread.name.lower() for thread in threading.enumerate()))


def test_closing_the_client_ends_a_stream_with_cancelled(peer: Peer) -> None:
    with peer({"Stream": Silent()}) as address, ThreadPoolExecutor(1) as threads:
        client = Client(address)
        stream = client.stream(numbered(2))
        next(stream)
        waiting = threads.submit(next, stream)
        client.close()
        with pytest.raises(Cancelled):
            waiting.result(20)


async def one_by_one(answered: "asyncio.Queue[int]") -> AsyncIterator[npt.NDArray[np.float32]]:
    """Give an input when the one before is answered."""
    for seed in range(4):
        yield rows(1, seed)
        assert await answered.get() == seed


def test_answers_come_while_an_asynchronous_input_is_waited_for(tiny: ServerProcess) -> None:
    async def ask() -> list[Any]:
        answered: asyncio.Queue[int] = asyncio.Queue()
        found: list[Any] = []
        async with AsyncClient(tiny.grpc) as client:
            async for each in client.stream(one_by_one(answered), ["scores"]):
                answered.put_nowait(len(found))
                found.append(each)
        return found

    for seed, found in enumerate(asyncio.run(ask())):
        assert_close(found["scores"], tiny_answer(rows(1, seed))["scores"])


def test_leaving_an_asynchronous_stream_ends_the_call_and_leaves_no_task(peer: Peer) -> None:
    silent = Silent()

    async def never() -> AsyncIterator[npt.NDArray[np.float32]]:
        for image in numbered(2):
            yield image
        await asyncio.Event().wait()

    async def ask(address: str) -> int:
        async with AsyncClient(address) as client:
            async with aclosing(client.stream(never())) as stream:  # type: ignore[type-var]
                async for _ in stream:
                    break
            assert await asyncio.to_thread(silent.gone.wait, 20)
            return len(asyncio.all_tasks())

    with peer({"Stream": silent}) as address:
        assert asyncio.run(ask(address)) == 1


def test_a_busy_server_gets_no_more_than_it_has_room_for_and_no_answer_is_lost(tmp_path: Path) -> None:
    write_artifact(tmp_path)
    with serving(tmp_path, "--queue-rows", "4") as server, Client(server.grpc) as client:
        check(list(client.stream(IMAGES, ["scores"])))
