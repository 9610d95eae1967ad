"""LogSettings: what the running server logs is changed, never where."""

import io
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from artifacts import write_artifact
from open_inference import call, refusal_of
from processes import ServerProcess, serving
from strata_server.logs import LineFormatter, Logs
from strata_server.rpc.open_inference import open_inference_pb2 as pb
from waiting import wait_until
from wire import Stubs, connect

DEFAULTS = {
    "log_file": "",
    "log_info": True,
    "log_warning": True,
    "log_error": True,
    "log_verbose_level": 0,
    "log_format": "default",
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    write_artifact(tmp_path / "models")
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


def write_settings(**settings: bool | int | str) -> pb.LogSettingsRequest:
    kinds = {bool: "bool_param", int: "uint32_param", str: "string_param"}
    told: dict[str, Any] = {name: {kinds[type(value)]: value} for name, value in settings.items()}
    return pb.LogSettingsRequest(settings=told)


def change(stubs: Stubs, **settings: bool | int | str) -> dict[str, Any]:
    answer = call(stubs, "LogSettings", write_settings(**settings), pb.LogSettingsResponse)
    return {name: getattr(value, value.WhichOneof("parameter_choice") or "") for name, value in answer.settings.items()}


def test_settings_that_are_not_named_stay(stubs: Stubs) -> None:
    assert change(stubs) == DEFAULTS
    assert change(stubs, log_info=False) == {**DEFAULTS, "log_info": False}
    assert change(stubs, log_verbose_level=3) == {**DEFAULTS, "log_info": False, "log_verbose_level": 3}
    assert change(stubs, log_info=True, log_verbose_level=0, log_file="") == DEFAULTS


def test_switching_information_off_and_on_shows_in_the_log(server: ServerProcess, stubs: Stubs) -> None:
    change(stubs, log_info=False, log_verbose_level=0)
    change(stubs, log_info=True)
    wait_until(lambda: "log settings changed: log_info=True" in server.log)
    assert "log_verbose_level=0" not in server.log


def test_verbose_levels_show_each_request_that_is_refused(server: ServerProcess, stubs: Stubs) -> None:
    def ask() -> None:
        refusal_of(stubs.infer, pb.ModelInferRequest(model_name="tyni\nERROR forged"))

    ask()
    change(stubs, log_verbose_level=1)
    ask()
    wait_until(lambda: "DEBUG strata_server.rpc.dispatcher: /inference" in server.log)
    change(stubs, log_verbose_level=0)
    ask()
    change(stubs, log_format="default")
    wait_until(lambda: "log_format='default'" in server.log)
    assert server.log.count("NOT_FOUND") == 1
    assert "\nERROR forged" not in server.log


@pytest.mark.parametrize("level", ["info", "warning", "error"])
def test_each_level_is_switched_off_alone(level: str) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LineFormatter())
    logs = Logs([handler])
    logs.commit({f"log_{level}": False})
    logger = logging.Logger("strata_server.test")
    logger.addHandler(handler)
    for each in ("info", "warning", "error", "critical"):
        getattr(logger, each)("about %s", each)
    logs.commit({f"log_{level}": True})
    getattr(logger, level)("again")
    told = [line.rpartition(" ")[2] for line in stream.getvalue().splitlines()]
    silent = {level, "critical"} if level == "error" else {level}
    assert told == [*(each for each in ("info", "warning", "error", "critical") if each not in silent), "again"]


def test_a_message_is_one_line_whatever_strangers_put_into_it() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LineFormatter())
    logger = logging.Logger("strata_server.test")
    logger.addHandler(handler)
    logger.warning("name %s", "a\nb\rc\x1b[31m\x85\u2028\x00ü")
    (line,) = stream.getvalue().split("\n")[:-1]
    assert line.endswith(r"name a\nb\rc\x1b[31m\x85\u2028\x00ü")


def test_the_time_is_written_as_iso_8601_where_that_is_asked(server: ServerProcess, stubs: Stubs) -> None:
    change(stubs, log_format="ISO8601")
    wait_until(lambda: bool(re.search(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO", server.log, re.MULTILINE)))
    change(stubs, log_format="default")
    wait_until(
        lambda: bool(
            re.search(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO .*log_format='default'", server.log, re.MULTILINE)
        )
    )


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (
            {"log_file": "strata.log"},
            "log_file: expected an empty text: the log goes to standard error, never to a file",
        ),
        ({"log_info": 1}, "log_info: expected true or false; received '1'"),
        ({"log_verbose_level": True}, "expected a whole number from 0 to 2147483647"),
        ({"log_verbose_level": 2**32 - 1}, "expected a whole number from 0 to 2147483647"),
        ({"log_format": "xml"}, "expected default or ISO8601; received 'xml'"),
        ({"log_level": 1}, "expected a log setting of log_file, log_info"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_and_changes_nothing(
    unchanged: Stubs, settings: dict[str, Any], reason: str
) -> None:
    code, details = refusal_of(lambda: change(unchanged, log_warning=False, **settings))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert reason in details
    assert change(unchanged) == DEFAULTS


def test_a_setting_without_a_value_is_refused(unchanged: Stubs) -> None:
    request = pb.LogSettingsRequest(settings={"log_info": pb.LogSettingsRequest.SettingValue()})
    code, details = refusal_of(call, unchanged, "LogSettings", request, pb.LogSettingsResponse)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "'log_info': expected a value" in details


def test_the_supervisor_of_workers_follows_the_settings_too(tmp_path: Path) -> None:
    write_artifact(tmp_path / "models")
    with serving(tmp_path / "models", "--workers", "2") as server:
        stubs = connect(server.grpc)
        kill_worker(server)
        wait_until(lambda: "ended with signal SIGKILL" in server.log)
        wait_until(lambda: httpx.get(f"{server.http}/readyz").status_code == 200)
        change(stubs, log_error=False)
        kill_worker(server)
        wait_until(lambda: httpx.get(f"{server.http}/readyz").status_code == 200)
        assert server.log.count("ended with signal SIGKILL") == 1
        stubs.channel.close()


def kill_worker(server: ServerProcess) -> None:
    """Kill a worker, and wait until that is seen."""
    victim = server.workers[0]
    victim.kill()
    wait_until(lambda: not victim.is_running())
