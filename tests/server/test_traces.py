"""TraceSetting: some requests leave a line with the times of their stages."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from artifacts import write_artifact
from open_inference import call, refusal_of, write_request
from processes import ServerProcess, serving
from strata_server.rpc.open_inference import open_inference_pb2 as pb
from waiting import wait_until
from wire import Stubs, connect

DEFAULTS = {
    "trace_file": [""],
    "trace_level": ["OFF"],
    "trace_rate": ["1000"],
    "trace_count": ["-1"],
    "log_frequency": ["0"],
    "trace_mode": ["triton"],
}
STAGES = ["request_start", "queue_start", "compute_start", "compute_end", "request_end"]
Floats = npt.NDArray[np.float32]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    write_artifact(tmp_path / "models", "tiny")
    write_artifact(tmp_path / "models", "other")
    with serving(tmp_path / "models") as server:
        yield server


@pytest.fixture
def stubs(server: ServerProcess) -> Iterator[Stubs]:
    stubs = connect(server.grpc)
    yield stubs
    stubs.channel.close()


@pytest.fixture
def unchanged(tiny: ServerProcess) -> Iterator[Stubs]:
    """Ask the server that other tests ask as well."""
    stubs = connect(tiny.grpc)
    yield stubs
    stubs.channel.close()


def change(stubs: Stubs, model: str = "", /, **settings: list[str]) -> dict[str, list[str]]:
    """Set settings, an empty list takes one back; return all of them."""
    told = {name: pb.TraceSettingRequest.SettingValue(value=value) for name, value in settings.items()}
    request = pb.TraceSettingRequest(model_name=model, settings=told)
    answer = call(stubs, "TraceSetting", request, pb.TraceSettingResponse)
    return {name: list(setting.value) for name, setting in answer.settings.items()}


def read_traces(server: ServerProcess) -> list[dict[str, Any]]:
    lines = server.log.splitlines()
    return [json.loads(line.partition("strata.trace: ")[2]) for line in lines if " INFO strata.trace: " in line]


def test_a_traced_request_leaves_its_stages_in_order(server: ServerProcess, stubs: Stubs, image: Floats) -> None:
    change(stubs, trace_level=["TIMESTAMPS"], trace_rate=["1"])
    for turn in range(3):  # the same request again, which is recognized by its bytes when nothing is traced
        stubs.infer(write_request(image, {"scores": {}}, id=f"turn {turn}"))
    wait_until(lambda: len(read_traces(server)) == 3)
    for turn, trace in enumerate(read_traces(server)):
        assert (trace["model_name"], trace["model_version"], trace["request_id"]) == ("tiny", 1, f"turn {turn}")
        times = [trace["timestamps"][stage] for stage in STAGES]
        assert times == sorted(times)
        assert times[0] > 0


def test_what_is_known_by_its_head_is_traced_once_traces_are_on(
    server: ServerProcess, stubs: Stubs, image: Floats
) -> None:
    request = write_request(image, {"scores": {}}, id="1")
    for _ in range(3):
        stubs.infer(request)
    change(stubs, trace_level=["TIMESTAMPS"], trace_rate=["1"])
    stubs.infer(request)
    wait_until(lambda: len(read_traces(server)) == 1)
    change(stubs, trace_level=["OFF"])
    stubs.infer(request)
    change(stubs, trace_level=["TIMESTAMPS"])
    stubs.infer(write_request(image, {"scores": {}}, id="last"))
    wait_until(lambda: [trace["request_id"] for trace in read_traces(server)] == ["1", "last"])


def test_a_request_that_fails_in_its_run_leaves_a_line_too(server: ServerProcess, stubs: Stubs, image: Floats) -> None:
    change(stubs, trace_level=["TIMESTAMPS"], trace_rate=["1"])
    image[0, 0, 0, 0] = np.float32(3e38)  # doubled it is infinite
    refusal_of(stubs.infer, write_request(image, {"double": {"classification": 1}}))
    refusal_of(stubs.infer, write_request(image, {"flat": {"classification": 1}}, id="infinite"))
    wait_until(lambda: [trace["request_id"] for trace in read_traces(server)] == ["infinite"])


def test_one_in_so_many_is_traced_and_no_more_than_the_count(
    server: ServerProcess, stubs: Stubs, image: Floats
) -> None:
    change(stubs, trace_level=["TIMESTAMPS"], trace_rate=["3"], trace_count=["2"])
    for turn in range(1, 13):
        stubs.infer(write_request(image, {"scores": {}}, id=str(turn)))
    assert change(stubs)["trace_count"] == ["0"]
    wait_until(lambda: [trace["request_id"] for trace in read_traces(server)] == ["3", "6"])


def test_a_models_own_settings_come_before_those_of_all(server: ServerProcess, stubs: Stubs, image: Floats) -> None:
    assert change(stubs) == DEFAULTS
    change(stubs, trace_rate=["1"])
    assert change(stubs, "other") == {**DEFAULTS, "trace_rate": ["1"]}
    assert change(stubs, "other", trace_level=["TIMESTAMPS"])["trace_level"] == ["TIMESTAMPS"]
    assert change(stubs)["trace_level"] == ["OFF"]
    for model in ("tiny", "other"):
        stubs.infer(write_request(image, {"scores": {}}, model_name=model))
    wait_until(lambda: [trace["model_name"] for trace in read_traces(server)] == ["other"])
    assert change(stubs, "other", trace_level=[])["trace_level"] == ["OFF"]
    assert change(stubs, trace_rate=[]) == DEFAULTS


def test_an_id_is_no_place_for_another_line(server: ServerProcess, stubs: Stubs, image: Floats) -> None:
    change(stubs, trace_level=["TIMESTAMPS"], trace_rate=["1"])
    stubs.infer(write_request(image, {"scores": {}}, id='x"\nINFO strata.trace: {}\u2028'))
    wait_until(lambda: len(read_traces(server)) == 1)
    assert read_traces(server)[0]["request_id"] == 'x"\nINFO strata.trace: {}\u2028'


def test_traces_are_written_where_information_is_not(server: ServerProcess, stubs: Stubs, image: Floats) -> None:
    off = pb.LogSettingsRequest(settings={"log_info": pb.LogSettingsRequest.SettingValue(bool_param=False)})
    call(stubs, "LogSettings", off, pb.LogSettingsResponse)
    change(stubs, trace_level=["TIMESTAMPS"], trace_rate=["1"])
    stubs.infer(write_request(image))
    wait_until(lambda: len(read_traces(server)) == 1)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"trace_file": ["trace.json"]}, "trace_file: expected an empty text: traces go to the log, never to a"),
        ({"trace_level": ["TENSORS"]}, "expected OFF or TIMESTAMPS: values of tensors are never logged"),
        ({"trace_level": ["TIMESTAMPS", "TENSORS"]}, "received 'TIMESTAMPS, TENSORS'"),
        ({"trace_rate": ["0"]}, "expected a whole number from 1 to 2147483647; received '0'"),
        ({"trace_rate": ["²"]}, "expected a whole number from 1"),
        ({"trace_rate": ["--1"]}, "expected a whole number from 1"),
        ({"trace_rate": ["9" * 5000]}, "expected a whole number from 1"),
        ({"trace_count": ["-2"]}, "expected a whole number from -1 to 2147483647, -1 for any number"),
        ({"log_frequency": ["10"]}, "expected 0: each trace is logged when its request ends"),
        ({"trace_mode": ["opentelemetry"]}, "trace_mode: expected triton"),
        ({"trace_depth": ["1"]}, "expected a trace setting of trace_file, trace_level"),
        ({"trace_depth": []}, "expected a trace setting of trace_file, trace_level"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_and_changes_nothing(
    unchanged: Stubs, settings: dict[str, list[str]], reason: str
) -> None:
    code, details = refusal_of(lambda: change(unchanged, **{"trace_count": ["5"], **settings}))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert reason in details
    assert change(unchanged) == DEFAULTS


def test_a_model_that_is_not_there_has_no_settings(unchanged: Stubs) -> None:
    code, _ = refusal_of(change, unchanged, "tyni")
    assert code is grpc.StatusCode.NOT_FOUND
