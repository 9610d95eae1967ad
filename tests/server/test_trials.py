"""Artifacts are tried in a process of their own."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from artifacts import crashing_model, slow_model, write_artifact, write_bytes
from strata_server.artifact import read_artifact
from strata_server.configuration.model_settings import ModelSettings
from strata_server.settings import DeviceSettings, Settings
from strata_server.trials import Trials, Verdict
from waiting import wait_until

NOTHING_SAID = ModelSettings().write()


@contextlib.contextmanager
def trying(models: Path, load_timeout_s: int = 30) -> Iterator[Trials]:
    settings = Settings(models=models, devices=DeviceSettings(device="cpu"), load_timeout_s=load_timeout_s)
    with Trials(settings) as trials:
        yield trials


@pytest.fixture
def trials(tmp_path: Path) -> Iterator[Trials]:
    with trying(tmp_path) as trials:
        yield trials


def run(trials: Trials, path: Path) -> Verdict:
    return trials.run("tiny", 1, path, NOTHING_SAID)


def test_what_can_be_served_passes_with_its_digest(trials: Trials, tmp_path: Path) -> None:
    path = write_artifact(tmp_path)
    assert run(trials, path) == Verdict(digest=read_artifact(path).digest)


def test_what_cannot_is_told_with_the_reason(trials: Trials, tmp_path: Path) -> None:
    path = write_bytes(tmp_path, b"no model")
    assert run(trials, path) == Verdict(reason="it is not an ONNX model, or a damaged one")


def test_what_crashes_onnxruntime_ends_only_its_own_process(trials: Trials, tmp_path: Path) -> None:
    crashing = write_artifact(tmp_path, "crashing", model=crashing_model(), manifest="")
    assert "it crashes the process that runs it, with SIGFPE" in run(trials, crashing).reason
    assert run(trials, write_artifact(tmp_path)).digest


def test_what_does_not_answer_in_time_is_ended(tmp_path: Path) -> None:
    slow = write_artifact(tmp_path, "slow", model=slow_model(10**6), manifest="")
    with trying(tmp_path, load_timeout_s=1) as trials:
        assert run(trials, slow).reason == "it has not answered within 1 s"
        assert run(trials, write_artifact(tmp_path)).digest


def test_the_process_that_tries_is_started_again_when_it_has_died(trials: Trials, tmp_path: Path) -> None:
    path = write_artifact(tmp_path)
    assert run(trials, path).digest
    for child in psutil.Process().children():
        if "serve_trials" in " ".join(child.cmdline()):
            child.kill()
            wait_until(lambda child=child: child.status() == psutil.STATUS_ZOMBIE)  # type: ignore[misc]
    assert run(trials, path).digest
