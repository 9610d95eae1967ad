import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import pytest
from artifacts import SIDE, assert_close, tiny_answer, write_artifact
from processes import ServerProcess, serving
from strata.v1 import inference_pb2
from tritonclient import grpc as triton
from tritonclient.utils import InferenceServerException
from waiting import wait_until
from wire import Stubs, connect, tensors

WAIT_S = 20


@pytest.fixture(scope="module", params=["queue", "public"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    models = tmp_path_factory.mktemp("models")
    write_artifact(models)
    with serving(models, "--transport", request.param, "--queue-rows", "1000000000") as server:
        yield server


@pytest.fixture
def stubs(server: ServerProcess) -> Iterator[Stubs]:
    stubs = connect(server.grpc, alone=True)
    yield stubs
    stubs.channel.close()


def images(rows: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).random((rows, SIDE, SIDE, 1), np.float32)


def ask(seed: int, **terms: Any) -> inference_pb2.StreamRequest:
    rows = images(1 + seed % 3, seed)
    request = inference_pb2.GetActivationsRequest(tensors=tensors(rows), layers=["scores"])
    return inference_pb2.StreamRequest(id=str(seed), get_activations=request, **terms)


def test_many_requests_on_one_call_are_answered_under_their_ids(stubs: Stubs) -> None:
    answers = {each.id: each for each in stubs.inference.Stream(map(ask, range(500)), timeout=WAIT_S)}
    assert len(answers) == 500
    for seed in range(500):
        (tensor,) = answers[str(seed)].get_activations.activations
        expected = tiny_answer(images(1 + seed % 3, seed))["scores"]
        assert_close(np.frombuffer(tensor.data, np.float32).reshape(tensor.shape), expected)


def test_an_error_is_the_answer_to_its_request_and_the_stream_goes_on(stubs: Stubs) -> None:
    wrong = inference_pb2.GetActivationsRequest(tensors=tensors(images(1)), layers=["no such layer"])
    nothing = inference_pb2.StreamRequest(id="nothing")
    predicted = inference_pb2.PredictRequest(tensors=tensors(images(1)), top_k=1)
    requests = [
        inference_pb2.StreamRequest(id="wrong", get_activations=wrong),
        nothing,
        inference_pb2.StreamRequest(id="right", predict=predicted),
    ]
    answers = {each.id: each for each in stubs.inference.Stream(iter(requests), timeout=WAIT_S)}
    assert answers["wrong"].error.code == grpc.StatusCode.NOT_FOUND.value[0]
    assert "unknown layer 'no such layer'" in answers["wrong"].error.message
    assert answers["nothing"].error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert len(answers["right"].predict.predictions[0].labels) == 1


def test_bytes_that_are_no_request_end_the_stream(stubs: Stubs) -> None:
    method: Any = stubs.channel.stream_stream("/strata.v1.InferenceService/Stream")
    with pytest.raises(grpc.RpcError) as caught:
        list(method(iter([b"\xff"]), timeout=WAIT_S))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_slow_reader_is_not_read_from_and_costs_no_memory(server: ServerProcess, stubs: Stubs) -> None:
    rows = np.ones((16_000, SIDE, SIDE, 1), np.float32)  # a megabyte, and as much comes back
    body = inference_pb2.GetActivationsRequest(tensors=tensors(rows), layers=["double"])
    sent = queue.SimpleQueue[int]()
    ended = threading.Event()

    def requests() -> Iterator[inference_pb2.StreamRequest]:
        for number in range(400):
            if ended.is_set():
                return
            sent.put(number)
            yield inference_pb2.StreamRequest(id=str(number), get_activations=body)

    process = psutil.Process(server.process.pid)
    before = process.memory_info().rss
    answers = stubs.inference.Stream(requests(), timeout=60)
    first = next(answers)
    assert len(first.get_activations.activations[0].data) == rows.nbytes
    held: list[int] = []

    def is_settled() -> bool:
        held.append(sent.qsize())
        return len(held) > 50 and len(set(held[-50:])) == 1

    wait_until(is_settled)
    assert sent.qsize() < 200  # the rest waits at the sender
    assert process.memory_info().rss - before < 200 * 2**20
    ended.set()
    assert sum(1 for _ in answers) == sent.qsize() - 1  # nothing is lost


def test_a_stream_ends_when_the_server_stops_and_what_came_is_answered(tmp_path: Path) -> None:
    write_artifact(tmp_path / "models")
    with serving(tmp_path / "models") as server:
        stubs = connect(server.grpc)
        requests: queue.SimpleQueue[inference_pb2.StreamRequest | None] = queue.SimpleQueue()
        requests.put(ask(1))
        answers = stubs.inference.Stream(iter(requests.get, None), timeout=WAIT_S)
        assert next(answers).id == "1"
        server.signal_stop()
        with pytest.raises(grpc.RpcError) as caught:
            next(answers)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert server.wait(wait_s=10) == 0
        requests.put(None)
        stubs.channel.close()


def test_tritons_client_streams(server: ServerProcess) -> None:
    results: queue.SimpleQueue[tuple[Any, InferenceServerException | None]] = queue.SimpleQueue()
    asked = {str(seed): images(1 + seed % 3, seed) for seed in range(50)}
    with triton.InferenceServerClient(server.grpc) as client:
        client.start_stream(lambda result, error: results.put((result, error)))
        for name, rows in asked.items():
            entry = triton.InferInput("image", rows.shape, "FP32")
            entry.set_data_from_numpy(rows)
            client.async_stream_infer("tiny", [entry], request_id=name)
        answered = {}
        for _ in asked:
            result, error = results.get(timeout=WAIT_S)
            assert error is None
            answered[result.get_response().id] = result.as_numpy("predictions")
        entry = triton.InferInput("image", [1, SIDE], "FP32")
        entry.set_data_from_numpy(np.ones((1, SIDE), np.float32))
        client.async_stream_infer("tiny", [entry])
        _, error = results.get(timeout=WAIT_S)
        assert "expected (-1, 4, 4, 1) float32" in str(error)
        client.stop_stream()
    assert set(answered) == set(asked)
    for name, rows in asked.items():
        assert_close(answered[name], tiny_answer(rows)["predictions"])


def test_tritons_terms_are_read(server: ServerProcess) -> None:
    rows = images(1)
    entry = triton.InferInput("image", rows.shape, "FP32")
    entry.set_data_from_numpy(rows)
    with triton.InferenceServerClient(server.grpc) as client:
        answer = client.infer("tiny", [entry], timeout=10**7, priority=1)
        assert_close(answer.as_numpy("predictions"), tiny_answer(rows)["predictions"])
        with pytest.raises(InferenceServerException, match="the parameter 'timeout': expected a whole number"):
            client.infer("tiny", [entry], timeout=-1)
