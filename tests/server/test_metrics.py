"""What /metrics and ModelStatistics tell of requests that are known."""

import queue
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import numpy.typing as npt
import pytest
from artifacts import SIDE, slow_model, tiny_model, write_artifact
from processes import ServerProcess, serving
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from strata.v1 import inference_pb2
from strata_server.rpc.open_inference import open_inference_pb2 as pb
from waiting import wait_until
from wire import WAIT_S, Stubs, connect, tensors

TINY = {"model": "tiny", "version": "1"}
SERVICE = "/inference.GRPCInferenceService"
KINDS = ("prediction", "activation", "reentry")


class Told:
    """What a server told at a moment."""

    def __init__(self, server: ServerProcess) -> None:
        answer = httpx.get(f"{server.http}/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        self.families: Mapping[str, Metric] = {family.name: family for family in parse_text(answer.text)}
        self._values = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    def value(self, name: str, labels: Mapping[str, str] | None = None, **more: str) -> float:
        """Return the value of a series; 0 where there is none."""
        return self._values.get((name, frozenset({**(labels or {}), **more}.items())), 0)

    def has(self, name: str, labels: Mapping[str, str]) -> bool:
        """Say whether there is a series."""
        return (name, frozenset(labels.items())) in self._values

    def failures(self) -> dict[tuple[str, str], float]:
        """Return how many requests failed, by model and status."""
        samples = self.families["strata_request_failures"].samples
        return {(sample.labels["model"], sample.labels["status"]): sample.value for sample in samples}

    def rejections(self) -> dict[str, float]:
        """Return how many were rejected, by reason, where there were some."""
        samples = self.families["strata_rejections"].samples
        return {sample.labels["reason"]: sample.value for sample in samples if sample.value}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    write_artifact(tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture
def server(request: pytest.FixtureRequest, models: Path) -> Iterator[ServerProcess]:
    """A server by the transport that a test names, with nothing counted yet."""
    with serving(models, "--transport", getattr(request, "param", "queue"), "--batch-rows", "4") as server:
        yield server


over_both = pytest.mark.parametrize("server", ["queue", "public"], indirect=True)


@pytest.fixture
def stubs(server: ServerProcess) -> Iterator[Stubs]:
    stubs = connect(server.grpc, alone=True)
    yield stubs
    stubs.channel.close()


def images(rows: int = 1) -> npt.NDArray[np.float32]:
    return np.random.default_rng(rows).random((rows, SIDE, SIDE, 1), np.float32)


def prediction(rows: int = 1) -> inference_pb2.PredictRequest:
    return inference_pb2.PredictRequest(tensors=tensors(images(rows)))


def activation(rows: int = 1, *layers: str) -> inference_pb2.GetActivationsRequest:
    return inference_pb2.GetActivationsRequest(tensors=tensors(images(rows)), layers=layers or ["flat"])


def reentry(rows: int = 1) -> inference_pb2.GetActivationsRequest:
    flat = images(rows).reshape(rows, -1)
    return inference_pb2.GetActivationsRequest(tensors=tensors(flat, name="flat"), layers=["predictions"])


def inference(rows: int = 1, **fields: Any) -> pb.ModelInferRequest:
    values = images(rows)
    return pb.ModelInferRequest(
        **{
            "model_name": "tiny",
            "inputs": [{"name": "image", "datatype": "FP32", "shape": values.shape}],
            "raw_input_contents": [values.tobytes()],
            **fields,
        }
    )


def statistics(stubs: Stubs, name: str = "", version: str = "") -> list[pb.ModelStatistics]:
    request = pb.ModelStatisticsRequest(name=name, version=version)
    body = stubs.call(f"{SERVICE}/ModelStatistics", request.SerializeToString())
    return list(pb.ModelStatisticsResponse.FromString(body).model_stats)


def refused(stubs: Stubs, path: str, body: bytes) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as caught:
        stubs.call(path, body)
    return caught.value.code()


def count_by_kind(told: Told, name: str) -> dict[str, float]:
    return {kind: told.value(name, TINY, slice=kind) for kind in KINDS}


@over_both
def test_requests_are_counted_by_what_they_ask_however_they_come(server: ServerProcess, stubs: Stubs) -> None:
    for _ in range(3):  # the second and third are recognized by their heads
        stubs.activations(activation(2))
        stubs.infer(inference(1, outputs=[{"name": "scores"}]))
    stubs.predict(prediction(3))
    stubs.infer(inference(2))
    stubs.infer(inference(2, outputs=[{"name": "predictions"}]))
    stubs.activations(reentry(4))
    streamed = [
        inference_pb2.StreamRequest(id="1", predict=prediction(2)),
        inference_pb2.StreamRequest(id="2", get_activations=reentry(1)),
    ]
    assert len(list(stubs.inference.Stream(iter(streamed), timeout=WAIT_S))) == 2
    stream: Any = stubs.channel.stream_stream(f"{SERVICE}/ModelStreamInfer")
    assert len(list(stream(iter([inference(1).SerializeToString()] * 2), timeout=WAIT_S))) == 2

    told = Told(server)
    requests = {"prediction": 6, "activation": 6, "reentry": 2}
    for name in ("request", "queue", "compute"):
        assert count_by_kind(told, f"strata_{name}_duration_seconds_count") == requests
    assert count_by_kind(told, "strata_request_rows_total") == {"prediction": 11, "activation": 9, "reentry": 5}
    assert told.value("nv_inference_count", TINY) == 25
    assert told.value("nv_inference_request_success", TINY) == 14
    assert not told.failures()
    assert not told.rejections()


def test_times_add_up_and_lie_in_their_buckets(server: ServerProcess, stubs: Stubs) -> None:
    for _ in range(20):
        stubs.predict(prediction(2))
    told = Told(server)
    sums = [told.value(f"strata_{name}_duration_seconds_sum", TINY, slice="prediction") for name in
            ("request", "queue", "compute")]  # fmt: skip
    assert sums[0] >= sums[1] + sums[2] > 0
    for family in ("strata_request_duration_seconds", "strata_queue_duration_seconds", "strata_run_rows"):
        labels = TINY if family == "strata_run_rows" else {**TINY, "slice": "prediction"}
        buckets = [
            (float(sample.labels["le"]), sample.value)
            for sample in told.families[family].samples
            if sample.name.endswith("_bucket") and labels.items() <= sample.labels.items()
        ]
        assert buckets == sorted(buckets)
        assert [count for _, count in buckets] == sorted(count for _, count in buckets)
        assert buckets[-1] == (float("inf"), 20)
    assert told.value("strata_run_rows_sum", TINY) == 40
    durations = ("queue", "compute_input", "compute_infer", "compute_output")
    parts_us = [told.value(f"nv_inference_{name}_duration_us", TINY) for name in durations]
    assert told.value("nv_inference_request_duration_us", TINY) >= sum(parts_us)
    assert told.value("nv_inference_request_duration_us", TINY) == pytest.approx(sums[0] * 1e6, abs=1)
    assert all(part > 0 for part in parts_us[1:])
    assert told.value("strata_last_request_timestamp_seconds", TINY) > 1.7e9


def test_a_request_larger_than_a_tile_is_one_request_and_several_runs(server: ServerProcess, stubs: Stubs) -> None:
    stubs.predict(prediction(10))
    told = Told(server)
    assert told.value("nv_inference_request_success", TINY) == 1
    assert told.value("nv_inference_count", TINY) == 10
    assert told.value("nv_inference_exec_count", TINY) == 3
    (stats,) = statistics(stubs)
    assert [(each.batch_size, each.compute_infer.count) for each in stats.batch_stats] == [(2, 1), (4, 2)]
    runs_ns = sum(each.compute_infer.ns for each in stats.batch_stats)
    assert stats.inference_stats.compute_infer.ns == runs_ns


def test_what_enters_and_is_asked_for_is_answered_without_a_run(server: ServerProcess, stubs: Stubs) -> None:
    stubs.activations(activation(3, "image"))
    told = Told(server)
    assert told.value("nv_inference_request_success", TINY) == 1
    assert told.value("nv_inference_exec_count", TINY) == 0


def test_requests_that_ran_together_are_one_run(models: Path) -> None:
    with serving(models, "--batch-rows", "8", "--batch-wait-us", "1000000") as server:
        stubs = connect(server.grpc, alone=True)
        calls: list[Any] = [stubs.inference.Predict.future(prediction(1), timeout=WAIT_S) for _ in range(8)]
        assert all(call.result().outputs for call in calls)
        (stats,) = statistics(stubs, "tiny")
        assert (stats.inference_count, stats.execution_count) == (8, 1)
        (batch,) = stats.batch_stats
        assert (batch.batch_size, batch.compute_infer.count) == (8, 1)
        # Each waited for the same run, as Triton counts it.
        assert stats.inference_stats.compute_infer.ns == 8 * batch.compute_infer.ns
        assert stats.inference_stats.compute_input.ns == 8 * batch.compute_input.ns > 0
        told = Told(server)
        assert told.value("strata_run_rows_bucket", TINY, le="4.0") == 0
        assert told.value("strata_run_rows_bucket", TINY, le="8.0") == 1
        stubs.channel.close()


FAILURES = {
    "a wrong shape": ("tiny", "INVALID_ARGUMENT", inference(1, inputs=[{"name": "image", "datatype": "FP32",
        "shape": [1, 2, 8, 1]}])),
    "an unknown layer": ("tiny", "NOT_FOUND", inference(1, outputs=[{"name": "nowhere"}])),
    "an unknown model": ("", "NOT_FOUND", inference(1, model_name="nobody")),
    "an unknown version": ("", "NOT_FOUND", inference(1, model_version="77")),
    "a caller that no longer waits": ("tiny", "DEADLINE_EXCEEDED",
        inference(1, parameters={"timeout": {"int64_param": 1}})),
}  # fmt: skip


@over_both
def test_a_failure_is_counted_under_its_model_if_that_was_known(server: ServerProcess, stubs: Stubs) -> None:
    failures: Counter[tuple[str, str]] = Counter()
    for model, status, request in FAILURES.values():
        assert refused(stubs, f"{SERVICE}/ModelInfer", request.SerializeToString()).name == status
        failures[model, status] += 1
        assert Told(server).failures() == failures
    told = Told(server)
    assert told.rejections() == {"deadline_passed": 1}
    assert told.value("nv_inference_request_failure", TINY, reason="REJECTED") == 1
    assert told.value("nv_inference_request_failure", TINY, reason="OTHER") == 2
    assert told.value("nv_inference_request_failure", {"model": "", "version": ""}, reason="OTHER") == 2
    (stats,) = statistics(stubs)
    assert (stats.inference_stats.fail.count, stats.inference_stats.success.count) == (3, 0)


def test_bytes_that_are_no_request_are_a_failure_and_other_methods_count_nothing(
    server: ServerProcess, stubs: Stubs
) -> None:
    assert refused(stubs, f"{SERVICE}/ModelInfer", b"\xff") is grpc.StatusCode.INVALID_ARGUMENT
    assert refused(stubs, f"{SERVICE}/ModelMetadata", b"\xff") is grpc.StatusCode.INVALID_ARGUMENT
    assert Told(server).failures() == {("", "INVALID_ARGUMENT"): 1}


@over_both
def test_an_error_inside_a_stream_is_a_failure(server: ServerProcess, stubs: Stubs) -> None:
    bad = inference_pb2.StreamRequest(id="1", get_activations=activation(1, "nowhere"))
    good = inference_pb2.StreamRequest(id="2", get_activations=activation(1))
    answers = list(stubs.inference.Stream(iter([bad, good]), timeout=WAIT_S))
    assert sorted(answer.WhichOneof("response") for answer in answers) == ["error", "get_activations"]
    told = Told(server)
    assert told.failures() == {("tiny", "NOT_FOUND"): 1}
    assert told.value("nv_inference_request_success", TINY) == 1


def test_a_request_over_a_limit_is_rejected(models: Path) -> None:
    with serving(models, "--max-multiply-adds", "1") as server:
        stubs = connect(server.grpc, alone=True)
        path = "/strata.v1.InferenceService/Predict"
        assert refused(stubs, path, prediction().SerializeToString()) is grpc.StatusCode.RESOURCE_EXHAUSTED
        told = Told(server)
        assert told.failures() == {("tiny", "RESOURCE_EXHAUSTED"): 1}
        assert told.rejections() == {"over_limit": 1}
        stubs.channel.close()


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server whose only model takes seconds, and of which four rows may wait or run."""
    write_artifact(tmp_path / "models", model=slow_model(rounds=400), manifest="")
    with serving(tmp_path / "models", "--threads", "1", "--queue-rows", "4", "--batch-rows", "1") as server:
        yield server


def test_a_full_queue_is_told_while_it_is_full_and_what_it_rejects(slow: ServerProcess) -> None:
    stubs = connect(slow.grpc, alone=True)
    runs: Any = stubs.inference.Predict.future(prediction(3), timeout=60)
    wait_until(lambda: Told(slow).value("strata_queue_rows", TINY) == 3)
    told = Told(slow)
    assert told.value("strata_queue_requests", TINY) == told.value("nv_inference_pending_request_count", TINY) == 1
    assert told.value("strata_queue_bytes", TINY) == images(3).nbytes
    assert told.value("strata_open_calls") == 1
    with pytest.raises(grpc.RpcError) as caught:
        stubs.predict(prediction(2))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    told = Told(slow)
    assert told.rejections() == {"queue_full": 1}
    assert told.failures() == {("tiny", "RESOURCE_EXHAUSTED"): 1}
    assert runs.result().outputs
    wait_until(lambda: Told(slow).value("strata_queue_rows", TINY) == 0)
    stubs.channel.close()


def test_a_request_that_cannot_make_its_deadline_is_rejected_for_that(slow: ServerProcess) -> None:
    stubs = connect(slow.grpc, alone=True)
    runs: Any = stubs.inference.Predict.future(prediction(1), timeout=60)
    wait_until(lambda: Told(slow).value("strata_queue_rows", TINY) == 1)
    with pytest.raises(grpc.RpcError) as caught:
        stubs.inference.Predict(prediction(1), timeout=0.5)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert Told(slow).rejections() == {"deadline": 1}
    assert runs.result().outputs
    stubs.channel.close()


def test_what_a_stopping_server_refuses_is_told_as_long_as_it_runs(slow: ServerProcess) -> None:
    stubs = connect(slow.grpc, alone=True)
    runs: Any = stubs.inference.Predict.future(prediction(1), timeout=60)
    wait_until(lambda: Told(slow).value("strata_queue_rows", TINY) == 1)
    slow.signal_stop()
    wait_until(lambda: httpx.get(f"{slow.http}/readyz").status_code == 503)
    assert refused(stubs, "/strata.v1.InferenceService/Predict", b"") is grpc.StatusCode.UNAVAILABLE
    assert Told(slow).rejections() == {"draining": 1}
    assert runs.result().outputs
    stubs.channel.close()


def test_statistics_tell_what_the_metrics_tell(server: ServerProcess, stubs: Stubs) -> None:
    for rows in (1, 1, 2, 3):
        stubs.predict(prediction(rows))
    stubs.activations(activation(2))
    refused(stubs, f"{SERVICE}/ModelInfer", inference(1, outputs=[{"name": "nowhere"}]).SerializeToString())
    told = Told(server)
    (stats,) = statistics(stubs, "tiny", "1")
    assert (stats.name, stats.version) == ("tiny", "1")
    assert stats.inference_count == told.value("nv_inference_count", TINY) == 9
    assert stats.execution_count == told.value("nv_inference_exec_count", TINY) == 5
    assert stats.last_inference == pytest.approx(told.value("strata_last_request_timestamp_seconds", TINY) * 1e3, abs=2)
    inner = stats.inference_stats
    assert inner.success.count == told.value("nv_inference_request_success", TINY) == 5
    assert inner.fail.count == told.value("nv_inference_request_failure", TINY, reason="OTHER") == 1
    assert inner.fail.ns > 0
    for name, metric in (
        ("success", "request"),
        ("queue", "queue"),
        ("compute_input", "compute_input"),
        ("compute_infer", "compute_infer"),
        ("compute_output", "compute_output"),
    ):
        duration = getattr(inner, name)
        assert duration.count == 5
        assert duration.ns // 1000 == told.value(f"nv_inference_{metric}_duration_us", TINY)
    assert {each.batch_size: each.compute_input.count for each in stats.batch_stats} == {1: 2, 2: 2, 3: 1}
    wait_until(lambda: Told(server).value("strata_sessions", TINY, pinned="false") == 1)
    told = Told(server)
    held = [told.value("strata_session_bytes", TINY, pinned=pinned) for pinned in ("true", "false")]
    assert statistics(stubs)[0].memory_usage[0].byte_size == sum(held) > 0


def test_statistics_are_of_all_models_of_all_versions_or_of_one(models: Path) -> None:
    write_artifact(models, version=2)
    write_artifact(models, "other")
    with serving(models) as server:
        stubs = connect(server.grpc, alone=True)
        stubs.infer(inference(1, model_version="1"))

        def told(name: str = "", version: str = "") -> list[tuple[str, str, int]]:
            return [(each.name, each.version, each.inference_count) for each in statistics(stubs, name, version)]

        assert told() == [("other", "1", 0), ("tiny", "1", 1), ("tiny", "2", 0)]
        assert told("tiny") == [("tiny", "1", 1), ("tiny", "2", 0)]
        assert told("tiny", "2") == [("tiny", "2", 0)]
        for name, version, code in (
            ("nobody", "", grpc.StatusCode.NOT_FOUND),
            ("tiny", "3", grpc.StatusCode.NOT_FOUND),
            ("", "1", grpc.StatusCode.INVALID_ARGUMENT),
        ):
            request = pb.ModelStatisticsRequest(name=name, version=version)
            assert refused(stubs, f"{SERVICE}/ModelStatistics", request.SerializeToString()) is code
        stubs.channel.close()


def test_openmetrics_is_spoken_to_those_who_ask_for_it(server: ServerProcess, stubs: Stubs) -> None:
    stubs.predict(prediction())
    accept = {"accept": "application/openmetrics-text; version=1.0.0, text/plain;q=0.5"}
    answer = httpx.get(f"{server.http}/metrics", headers=accept)
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    families = {family.name: family for family in parse_openmetrics(answer.text)}  # type: ignore[no-untyped-call]
    assert families.keys() == Told(server).families.keys()
    assert families["strata_request_rows"].type == "counter"
    assert families["strata_request_duration_seconds"].type == "histogram"
    assert families["nv_inference_count"].type == "unknown"  # OpenMetrics' counters end with _total


def test_names_that_nobody_serves_and_values_never_become_labels(server: ServerProcess, stubs: Stubs) -> None:
    for name in ("nobody", 'a"b\n', "x" * 10_000):
        refused(stubs, f"{SERVICE}/ModelInfer", inference(1, model_name=name).SerializeToString())
    families = Told(server).families.values()
    labels = {label for family in families for sample in family.samples for label in sample.labels.items()}
    assert {value for name, value in labels if name == "model"} == {"", "tiny"}
    assert {name for name, _ in labels} == {"model", "version", "slice", "status", "reason", "le", "pinned"}


def ask_often(server: ServerProcess, count: int = 16) -> int:
    """Ask once over each of some connections, which the kernel spreads over the workers."""
    for _ in range(count):
        stubs = connect(server.grpc, alone=True)
        stubs.predict(prediction())
        stubs.channel.close()
    return count


def test_all_workers_tell_the_sum_and_a_killed_one_s_counts_stay(models: Path) -> None:
    with serving(models, "--workers", "2") as server:
        asked = ask_often(server)
        for _ in range(20):  # whichever worker answers
            assert Told(server).value("nv_inference_request_success", TINY) == asked
        for _ in range(8):
            stubs = connect(server.grpc, alone=True)
            assert statistics(stubs)[0].inference_count == asked
            stubs.channel.close()
        wait_until(lambda: Told(server).value("strata_serving_workers", TINY) == 2)

        server.workers[0].kill()
        wait_until(lambda: readiness(server) == 503)
        wait_until(lambda: readiness(server) == 200)
        assert Told(server).value("nv_inference_request_success", TINY) == asked
        asked += ask_often(server)
        assert Told(server).value("nv_inference_request_success", TINY) == asked
        assert Told(server).value("strata_run_rows_count", TINY) == asked
        assert Told(server).value("strata_resident_memory_bytes") > 2**20


def readiness(server: ServerProcess) -> int:
    try:
        return httpx.get(f"{server.http}/readyz", timeout=5).status_code
    except httpx.TransportError:  # whoever had accepted it has died
        return 0


@over_both
def test_counts_under_load_are_exact(server: ServerProcess) -> None:
    channels = [connect(server.grpc, alone=True) for _ in range(4)]

    def ask(number: int) -> None:
        for _ in range(100):
            channels[number % 4].activations(activation(1 + number % 3))

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(ask, range(12)))
    told = Told(server)
    assert count_by_kind(told, "strata_request_duration_seconds_count")["activation"] == 1200
    assert count_by_kind(told, "strata_request_rows_total")["activation"] == 100 * 4 * (1 + 2 + 3)
    assert told.value("strata_run_rows_sum", TINY) == 2400
    (stats,) = statistics(channels[0])
    assert sum(each.batch_size * each.compute_infer.count for each in stats.batch_stats) == 2400
    for each in channels:
        each.channel.close()


def test_an_open_stream_that_asks_nothing_counts_nothing(server: ServerProcess, stubs: Stubs) -> None:
    requests: queue.SimpleQueue[inference_pb2.StreamRequest | None] = queue.SimpleQueue()
    answers = stubs.inference.Stream(iter(requests.get, None), timeout=WAIT_S)
    requests.put(inference_pb2.StreamRequest(id="1", predict=prediction()))
    assert next(answers).id == "1"
    assert Told(server).value("nv_inference_request_success", TINY) == 1
    requests.put(None)
    assert not list(answers)
    assert Told(server).failures() == {}


def test_a_version_that_comes_is_told_at_zero_and_one_that_goes_is_told_no_more(models: Path) -> None:
    with serving(models, "--repository", "watch", "--workers", "2") as server:
        asked = ask_often(server, 4)
        write_artifact(models, version=2)
        newest = {"model": "tiny", "version": "2"}
        wait_until(lambda: Told(server).value("strata_serving_workers", newest) == 2)
        assert Told(server).has("nv_inference_request_success", newest)
        assert Told(server).value("nv_inference_request_success", newest) == 0
        newer = ask_often(server, 4)
        assert Told(server).value("nv_inference_request_success", newest) == newer
        shutil.rmtree(models / "tiny" / "2")
        wait_until(lambda: not Told(server).has("nv_inference_request_success", newest))
        assert Told(server).value("nv_inference_request_success", TINY) == asked
        write_artifact(models, version=2)
        wait_until(lambda: Told(server).has("nv_inference_request_success", newest))
        assert Told(server).value("nv_inference_request_success", newest) == 0  # it begins anew


def test_a_version_replaced_by_another_of_its_number_is_counted_on(models: Path) -> None:
    with serving(models, "--repository", "watch") as server:
        ask_often(server, 3)
        write_artifact(models, version=1, model=tiny_model(3))
        stubs = connect(server.grpc, alone=True)

        def factor() -> float:
            answer = stubs.activations(activation(1, "double"))
            return float(np.frombuffer(answer.activations[0].data, np.float32)[0] / images()[0, 0, 0, 0])

        wait_until(lambda: factor() == pytest.approx(3))
        before = Told(server).value("nv_inference_request_success", TINY)
        assert before > 3
        factor()
        assert Told(server).value("nv_inference_request_success", TINY) == before + 1
        stubs.channel.close()


def test_callers_who_hang_up_are_counted_apart_from_deadlines(slow: ServerProcess) -> None:
    stubs = connect(slow.grpc, alone=True)
    runs = stubs.inference.Predict.future(prediction(), timeout=60)
    wait_until(lambda: Told(slow).value("strata_queue_requests", TINY) == 1)
    waiting = [stubs.inference.Predict.future(prediction(), timeout=60) for _ in range(3)]
    stubs.call(f"{SERVICE}/ServerLive", b"")  # it is answered behind them: they have come
    for each in waiting:
        each.cancel()
    assert runs.result(60).outputs
    wait_until(lambda: Told(slow).failures() == {("tiny", "CANCELLED"): 3})
    assert Told(slow).value("nv_inference_request_failure", TINY, reason="CANCELED") == 3
    assert not Told(slow).rejections()
    stubs.channel.close()
