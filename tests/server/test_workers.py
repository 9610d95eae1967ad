import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import numpy as np
import psutil
import pytest
from artifacts import SIDE, write_artifact
from processes import ServerProcess, serving, start
from strata.v1 import inference_pb2
from strata_server.board import State, make_board
from waiting import wait_until
from wire import Stubs, connect, tensors

IMAGE = np.ones((1, SIDE, SIDE, 1), np.float32)
REQUEST = inference_pb2.PredictRequest(tensors=tensors(IMAGE))


@pytest.fixture
def models(tmp_path: Path) -> Path:
    write_artifact(tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture
def pair(models: Path) -> Iterator[ServerProcess]:
    """Two workers, of which a silent one is replaced after a second."""
    with serving(models, "--workers", "2", "--worker-timeout-s", "1") as server:
        yield server


def readiness(server: ServerProcess) -> tuple[int, str]:
    try:
        answer = httpx.get(f"{server.http}/readyz", timeout=5)
    except httpx.TransportError:  # whoever had accepted it has died
        return 0, ""
    return answer.status_code, answer.text


def connect_often(server: ServerProcess, count: int = 16) -> list[Stubs]:
    """Return connections of their own: the kernel spreads them over the workers."""
    return [connect(server.grpc, alone=True) for _ in range(count)]


def count_connections(process: psutil.Process) -> int:
    return sum(each.status == psutil.CONN_ESTABLISHED for each in process.net_connections("tcp"))


def test_the_ready_line_tells_how_many_serve_and_readiness_that_all_do(pair: ServerProcess) -> None:
    assert pair.ready_line.endswith("models tiny:1, workers 2\n")
    assert readiness(pair) == (200, "ready\n")
    assert len(pair.workers) == 2


def test_connections_are_spread_over_the_workers(pair: ServerProcess) -> None:
    stubs = connect_often(pair)
    for each in stubs:
        assert each.predict(REQUEST).outputs
    assert all(count_connections(worker) for worker in pair.workers)
    for each in stubs:
        each.channel.close()


def test_of_a_killed_worker_only_calls_on_it_fail_and_another_takes_its_place(pair: ServerProcess) -> None:
    stubs = connect_often(pair)
    killed = threading.Event()
    failed: list[grpc.StatusCode] = []

    def ask(each: Stubs) -> None:
        for _ in range(2000):
            try:
                each.predict(REQUEST)
            except grpc.RpcError as error:
                failed.append(error.code())
                return  # the next call of this channel goes to another worker
            if killed.is_set():
                return

    threads = [threading.Thread(target=ask, args=(each,)) for each in stubs]
    for thread in threads:
        thread.start()
    victim, survivor = pair.workers
    victim.kill()
    wait_until(lambda: readiness(pair) == (503, "1 of 2 workers ready\n"), bound_s=5)
    wait_until(lambda: readiness(pair) == (200, "ready\n"), bound_s=5)
    killed.set()
    for thread in threads:
        thread.join(20)
    assert set(failed) <= {grpc.StatusCode.UNAVAILABLE}
    assert len(failed) < len(stubs)
    assert survivor.is_running()
    assert len(pair.workers) == 2
    assert "ended with signal SIGKILL" in pair.log
    for each in stubs:
        assert each.inference.Predict(REQUEST, timeout=20, wait_for_ready=True).outputs
        each.channel.close()


def test_a_worker_that_hangs_is_replaced(pair: ServerProcess) -> None:
    victim = pair.workers[0]
    victim.suspend()
    wait_until(lambda: not victim.is_running(), bound_s=15)
    wait_until(lambda: readiness(pair) == (200, "ready\n"), bound_s=15)
    assert "has hung for" in pair.log


def test_a_stop_ends_all_and_exits_with_0(models: Path) -> None:
    with serving(models, "--workers", "2") as server:
        children = server.workers
        server.process.send_signal(signal.SIGTERM)
        assert server.wait() == 0
    assert not any(child.is_running() for child in children)


def test_workers_do_not_outlive_their_supervisor(models: Path) -> None:
    server = ServerProcess(models, "--workers", "2")
    children = server.workers
    server.kill()
    wait_until(lambda: not any(is_alive(child) for child in children))


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_port_that_workers_share_is_taken_for_everybody_else(pair: ServerProcess, models: Path) -> None:
    port = pair.grpc.rsplit(":", 1)[1]
    for count in ("1", "2"):
        done = start("--models", models, "--grpc-port", port, "--workers", count)
        assert done.returncode == 1
        assert f"cannot listen for gRPC on 127.0.0.1:{port}" in done.stderr


def test_what_keeps_workers_from_starting_is_said_once(tmp_path: Path) -> None:
    done = start("--models", tmp_path, "--workers", "3")
    assert done.returncode == 1
    assert done.stderr.count("strata-server: --models") == 1
    assert "Traceback" not in done.stderr


def test_a_board_tells_states_and_silence() -> None:
    board = make_board(2)
    assert (board.ready, board.state(1)) == (0, State.STARTING)
    board.set(1, State.READY)
    assert board.ready == 1
    assert board.silence_s(1) < board.silence_s(0)
