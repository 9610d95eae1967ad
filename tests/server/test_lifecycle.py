"""The server's life: start, readiness, drain, end."""

import contextlib
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import psutil
import pytest
from artifacts import SIDE, write_artifact
from grpc_health.v1 import health_pb2, health_pb2_grpc
from processes import BIN, ServerProcess, serving, start
from proxies import holding
from slowness import slow_repository
from strata.v1 import catalog_pb2, inference_pb2
from waiting import wait_until
from wire import Stubs, connect, tensors

IMAGE = np.ones((1, SIDE, SIDE, 1), np.float32)
SERVICES = [
    "",
    "strata.v1.CatalogService",
    "strata.v1.InferenceService",
    "strata.v1.RepositoryService",
    "inference.GRPCInferenceService",
]


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    """A repository with a model whose prediction takes some seconds."""
    return slow_repository(tmp_path, rounds=300)


def is_computing(server: ServerProcess) -> Callable[[], bool]:
    """Return a condition: the server has used a fifth of a second of CPU since now."""
    process = psutil.Process(server.process.pid)
    start = process.cpu_times().user
    return lambda: process.cpu_times().user > start + 0.2


def predict_later(stubs: Stubs, timeout_s: float = 60) -> Any:
    request = inference_pb2.PredictRequest(tensors=tensors(IMAGE))
    return stubs.inference.Predict.future(request, timeout=timeout_s)


def test_a_stopping_server_says_so_finishes_running_calls_and_exits_with_0(slow: Path) -> None:
    with serving(slow, "--threads", "1") as server:
        stubs = connect(server.grpc)
        watch = health_pb2_grpc.HealthStub(stubs.channel).Watch(health_pb2.HealthCheckRequest(), timeout=60)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        computing = is_computing(server)
        running = predict_later(stubs)
        wait_until(computing)

        server.signal_stop()
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert not running.done()
        assert httpx.get(f"{server.http}/readyz").status_code == 503
        assert httpx.get(f"{server.http}/healthz").status_code == 200
        with pytest.raises(grpc.RpcError) as refused:
            stubs.catalog.ListModels(catalog_pb2.ListModelsRequest(), timeout=20)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE

        np.testing.assert_array_equal(np.frombuffer(running.result().outputs[0].data, np.float32), IMAGE.ravel())
        assert server.wait() == 0
        stubs.channel.close()


def test_a_call_longer_than_the_drain_is_cut_off(slow: Path) -> None:
    with serving(slow, "--threads", "1", "--drain-s", "0") as server:
        stubs = connect(server.grpc)
        computing = is_computing(server)
        running = predict_later(stubs)
        wait_until(computing)
        server.signal_stop()
        assert running.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
        assert server.wait(wait_s=2) == 0  # the run itself goes on for longer
        assert "still open after 0 s were cut off" in server.log
        stubs.channel.close()


def test_an_idle_server_with_watchers_stops_at_once(tmp_path: Path) -> None:
    write_artifact(tmp_path / "models")
    with serving(tmp_path / "models") as server:
        stubs = connect(server.grpc)
        watch = health_pb2_grpc.HealthStub(stubs.channel).Watch(health_pb2.HealthCheckRequest(), timeout=60)
        next(watch)
        server.signal_stop()
        assert server.wait(wait_s=10) == 0  # the drain alone may take 30 s
        stubs.channel.close()


def test_an_answer_on_its_way_arrives_through_a_stop(tmp_path: Path) -> None:
    write_artifact(tmp_path / "models")
    with serving(tmp_path / "models") as server, holding(server.grpc, free_bytes=2**20) as proxy:
        stubs = connect(proxy.address)
        rows = np.ones((200_000, SIDE, SIDE, 1), np.float32)
        request = inference_pb2.GetActivationsRequest(tensors=tensors(rows), layers=["double", "flat", "scores"])
        coming: Any = stubs.inference.GetActivations.future(request, timeout=60)
        assert proxy.held.wait(20)
        server.signal_stop()
        wait_until(lambda: httpx.get(f"{server.http}/readyz").status_code == 503)
        proxy.release()
        assert [len(tensor.data) for tensor in coming.result().activations] == [12_800_000, 12_800_000, 2_400_000]
        assert server.wait() == 0
        stubs.channel.close()


def test_idle_streams_and_calls_without_a_message_hold_nothing_up(stubs: Stubs) -> None:
    silent = threading.Event()

    def never() -> Iterator[bytes]:
        silent.wait(60)
        yield from ()

    paths = ["/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "/strata.v1.InferenceService/Predict"]
    begin: list[Any] = [stubs.channel.stream_stream(path) for path in paths]
    calls = [method(never(), timeout=60) for method in begin for _ in range(50)]
    try:
        health = health_pb2_grpc.HealthStub(stubs.channel)
        assert health.Check(health_pb2.HealthCheckRequest(), timeout=20).status
        assert stubs.predict(inference_pb2.PredictRequest(tensors=tensors(IMAGE))).outputs
    finally:
        silent.set()
        for call in calls:
            call.cancel()


@pytest.mark.parametrize("host", ["::1", "[::1]", "localhost"])
def test_a_host_may_be_a_name_or_an_address_of_either_family(tmp_path: Path, host: str) -> None:
    write_artifact(tmp_path / "models")
    with serving(tmp_path / "models", "--host", host) as server:
        assert httpx.get(f"{server.http}/readyz").status_code == 200
        stubs = connect(server.grpc)
        assert stubs.predict(inference_pb2.PredictRequest(tensors=tensors(IMAGE))).outputs
        stubs.channel.close()


def test_control_c_stops_as_sigterm_does(tmp_path: Path) -> None:
    write_artifact(tmp_path / "models")
    with serving(tmp_path / "models") as server:
        server.process.send_signal(signal.SIGINT)
        assert server.wait() == 0


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_is_healthy(stubs: Stubs, service: str) -> None:
    health = health_pb2_grpc.HealthStub(stubs.channel)
    status = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=20).status
    assert status == health_pb2.HealthCheckResponse.SERVING


def test_an_unknown_service_has_no_health(stubs: Stubs) -> None:
    health = health_pb2_grpc.HealthStub(stubs.channel)
    with pytest.raises(grpc.RpcError) as caught:
        health.Check(health_pb2.HealthCheckRequest(service="other"), timeout=20)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_http_answers_health_and_nothing_else(tiny: ServerProcess) -> None:
    assert httpx.get(f"{tiny.http}/healthz").text == "ok\n"
    assert httpx.get(f"{tiny.http}/readyz").text == "ready\n"
    assert httpx.get(f"{tiny.http}/models").status_code == 404
    assert httpx.post(f"{tiny.http}/readyz").status_code == 405


def test_the_ready_line_names_ports_and_models(tiny: ServerProcess) -> None:
    assert re.fullmatch(
        r"strata-server ready: grpc 127\.0\.0\.1:\d+, http 127\.0\.0\.1:\d+, device cpu, models tiny:1, tiny:12\n",
        tiny.ready_line,
    )


def test_a_message_over_the_limit_is_never_to_be_retried(tmp_path: Path) -> None:
    write_artifact(tmp_path / "models")
    with serving(tmp_path / "models", "--max-message-bytes", "1024") as server:
        stubs = connect(server.grpc)
        rows = np.ones((8, SIDE, SIDE, 1), np.float32)
        layers = ["image", "double", "flat"]
        with pytest.raises(grpc.RpcError) as caught:
            stubs.activations(inference_pb2.GetActivationsRequest(tensors=tensors(rows), layers=layers))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "at most 1024 bytes, received a request for 1536: 8 rows x 192 bytes" in str(caught.value.details())
        trailers: list[Any] = list(caught.value.trailing_metadata())
        assert trailers == [("grpc-retry-pushback-ms", "-1")]
        assert len(stubs.predict(inference_pb2.PredictRequest(tensors=tensors(rows))).outputs) == 1
        stubs.channel.close()


def test_nothing_leaves_the_machine(tiny: ServerProcess) -> None:
    connections = psutil.Process(tiny.process.pid).net_connections("inet")
    addresses = {getattr(end, "ip", "") for c in connections for end in (c.laddr, c.raddr)} - {""}
    assert {address.removeprefix("::ffff:") for address in addresses} == {"127.0.0.1"}


def test_a_taken_port_stops_the_start_and_is_named(tmp_path: Path) -> None:
    write_artifact(tmp_path / "models")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for flag, protocol in (("--grpc-port", "gRPC"), ("--http-port", "HTTP")):
            done = start("--models", tmp_path / "models", flag, port)
            assert done.returncode == 1
            assert f"cannot listen for {protocol} on 127.0.0.1:{port}" in done.stderr
            assert "Traceback" not in done.stderr


def test_a_host_that_is_not_here_stops_the_start_and_is_named(tmp_path: Path) -> None:
    done = start("--models", tmp_path, "--host", "no.such.host.invalid")
    assert done.returncode == 1
    assert "--host: expected a name or address of this machine" in done.stderr


@pytest.mark.parametrize("kind", ["missing", "a file", "empty"])
def test_a_repository_with_nothing_to_serve_stops_the_start(tmp_path: Path, kind: str) -> None:
    models = tmp_path / "models"
    if kind == "a file":
        models.write_text("")
    if kind == "empty":
        models.mkdir()
    done = start("--models", models)
    assert done.returncode == 1
    assert done.stderr.startswith("strata-server: --models")
    assert "expected" in done.stderr


def test_a_bad_setting_is_named_also_from_the_environment(tmp_path: Path) -> None:
    assert "STRATA_THREADS" in start("--models", tmp_path, environment={"STRATA_THREADS": "many"}).stderr
    assert "--threads" in start("--models", tmp_path, "--threads", "0").stderr


def test_broken_versions_are_named_and_the_others_served(tmp_path: Path) -> None:
    models = tmp_path / "models"
    write_artifact(models, "good")
    write_artifact(models, "good", 2, manifest="{")
    (models / "torn" / "1").mkdir(parents=True)
    (models / "torn" / "1" / "model.onnx").write_bytes(b"\x08\x0a" + bytes(50))
    (models / "notes.txt").write_text("not a model")
    write_artifact(models, "good", "latest")
    with serving(models) as server:
        assert server.models == "good:1"
        assert "model good version 2 cannot be served: its manifest cannot be read" in server.log
        assert "model torn version 1 cannot be served: it is not an ONNX model" in server.log
        assert "skipped" in server.log
        assert "latest" in server.log


def test_a_stop_while_models_load_ends_the_start(slow: Path) -> None:
    port = find_port()
    command = ["--models", str(slow), "--grpc-port", "0", "--http-port", str(port), "--threads", "1"]
    with subprocess.Popen([BIN / "strata-server", *command], stdout=subprocess.PIPE) as process:
        wait_until(lambda: is_open(port))
        assert httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
        assert httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 503
        process.terminate()
        assert process.wait(30) == 0


def find_port() -> int:
    """Return a free port below those that connections get: a probe of one of these may connect to itself."""
    for port in range(20_000, 30_000):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no port is free")


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
