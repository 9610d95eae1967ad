"""A network that takes its time, and what else is asked meanwhile."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnx
import pytest
from artifacts import SIDE, write_artifact
from grpc_health.v1 import health_pb2, health_pb2_grpc
from onnx import TensorProto, helper
from processes import ServerProcess, serving
from strata.v1 import inference_pb2
from waiting import wait_until
from wire import Stubs, connect, tensors

EDGE = 256
PRODUCTS = 400  # a quarter of a second to a second, by the machine
WAIT_S = 60
PUSHBACK = "grpc-retry-pushback-ms"


def write_slow(models: Path) -> None:
    """Write a network that multiplies a matrix by itself again and again."""
    shape: list[str | int | None] = ["rows", EDGE, EDGE]
    nodes = [
        helper.make_node("MatMul", [f"x{number}" if number else "matrix", "matrix"], [f"x{number + 1}"])
        for number in range(PRODUCTS)
    ]
    graph = helper.make_graph(
        nodes,
        "slow",
        [helper.make_tensor_value_info("matrix", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(f"x{PRODUCTS}", TensorProto.FLOAT, shape)],
    )
    path = models / "slow" / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


@pytest.fixture(scope="module", params=["queue", "public"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    models = tmp_path_factory.mktemp("models")
    write_artifact(models)
    write_slow(models)
    with serving(models, "--transport", request.param, "--threads", "1", "--batch-rows", "1") as server:
        yield server


@pytest.fixture
def stubs(server: ServerProcess) -> Iterator[Stubs]:
    stubs = connect(server.grpc, alone=True)
    yield stubs
    stubs.channel.close()


def ask_slow(rows: int = 1) -> inference_pb2.PredictRequest:
    matrix = np.tile(np.eye(EDGE, dtype=np.float32), (rows, 1, 1))
    return inference_pb2.PredictRequest(model={"name": "slow"}, tensors=tensors(matrix, name="matrix"))


def ask_fast() -> inference_pb2.PredictRequest:
    return inference_pb2.PredictRequest(
        model={"name": "tiny"}, tensors=tensors(np.ones((1, SIDE, SIDE, 1), np.float32))
    )


def test_a_slow_network_holds_up_neither_health_nor_other_networks_nor_deadlines(stubs: Stubs) -> None:
    health = health_pb2_grpc.HealthStub(stubs.channel)
    stubs.inference.Predict(ask_slow(), timeout=WAIT_S)
    start = time.monotonic()
    slow: Any = stubs.inference.Predict.future(ask_slow(8), timeout=WAIT_S)
    counts: Counter[str] = Counter()
    while not slow.done():
        assert health.Check(health_pb2.HealthCheckRequest(), timeout=WAIT_S).status == 1
        assert stubs.inference.Predict(ask_fast(), timeout=WAIT_S).outputs
        if slow.done():
            break
        with pytest.raises(grpc.RpcError) as caught:
            stubs.inference.Predict(ask_slow(8), timeout=0.01)
        assert caught.value.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED)
        counts["asked"] += 1
    took = time.monotonic() - start
    assert slow.result().outputs
    # Had any of them waited for the slow one, there would have been one of each.
    assert counts["asked"] >= 10, (counts, took)


def test_large_messages_hold_up_nobody(stubs: Stubs, server: ServerProcess) -> None:
    other = connect(server.grpc, alone=True)
    health = health_pb2_grpc.HealthStub(other.channel)
    large = inference_pb2.PredictRequest(
        model={"name": "nosuch"}, tensors=tensors(np.ones((500_000, SIDE, SIDE, 1), np.float32))
    )
    checks_s: list[float] = []
    done = threading.Event()

    def check() -> None:
        while not done.is_set():
            start = time.monotonic()
            assert health.Check(health_pb2.HealthCheckRequest(), timeout=WAIT_S).status == 1
            checks_s.append(time.monotonic() - start)

    start = time.monotonic()
    with ThreadPoolExecutor(1) as pool:  # beside the large ones from the first: they are read as fast as they are sent
        checking = pool.submit(check)
        try:
            calls: list[Any] = [stubs.inference.Predict.future(large, timeout=WAIT_S) for _ in range(16)]
            codes = {call.code() for call in calls}
        finally:
            took = time.monotonic() - start
            done.set()
    checking.result()
    assert codes == {grpc.StatusCode.NOT_FOUND}  # which takes reading the message
    # Had a check waited for the large ones before it, it would have taken as long as they did.
    assert max(checks_s) < took / 2, (checks_s, took)
    assert len(checks_s) >= 5
    other.channel.close()


def test_over_its_load_a_server_keeps_deadlines_refuses_the_rest_and_serves_on(stubs: Stubs) -> None:
    start = time.monotonic()
    stubs.inference.Predict(ask_slow(), timeout=WAIT_S)
    deadline_s = 6 * (time.monotonic() - start)
    codes: Counter[grpc.StatusCode] = Counter()
    pushbacks: list[int] = []
    lock = threading.Lock()

    def note(call: Any) -> None:
        with lock:
            codes[call.code()] += 1
            if call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                pushbacks.append(int(dict(call.trailing_metadata())[PUSHBACK]))

    for _ in range(40):
        call: Any = stubs.inference.Predict.future(ask_slow(), timeout=deadline_s)
        call.add_done_callback(note)
    wait_until(lambda: sum(codes.values()) == 40, bound_s=WAIT_S)
    assert codes[grpc.StatusCode.OK] >= 2
    assert codes[grpc.StatusCode.RESOURCE_EXHAUSTED] >= 30
    assert codes[grpc.StatusCode.DEADLINE_EXCEEDED] <= 2  # the machine is shared: a run may take longer than the last
    assert len(pushbacks) == codes[grpc.StatusCode.RESOURCE_EXHAUSTED]
    assert all(0 < each <= deadline_s * 1000 for each in pushbacks)
    assert stubs.inference.Predict(ask_slow(), timeout=WAIT_S).outputs
