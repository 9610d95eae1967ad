"""Artifacts are tried in a process of their own."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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


def test_what_only_some_values_make_crash_is_found_as_well(trials: Trials, tmp_path: Path) -> None:
    crashing = write_artifact(tmp_path, "crashing", model=crashing_model(harmless_below=0.5), manifest="")
    assert "SIGFPE" in run(trials, crashing).reason


def test_a_close_ends_what_is_being_tried(tmp_path: Path) -> None:
    slow = write_artifact(tmp_path, "slow", model=slow_model(10**6), manifest="")
    with trying(tmp_path) as trials, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(run, trials, slow)
        wait_until(lambda: any(each.children() for each in trial_servers()))
        processes = [*trial_servers(), *(child for each in trial_servers() for child in each.children())]
        trials.close()
        assert asked.result(20).reason == "the server is stopping"
    wait_until(lambda: not any(is_alive(each) for each in processes))


def test_what_is_tried_ends_with_the_process_that_tries_it(trials: Trials, tmp_path: Path) -> None:
    slow = write_artifact(tmp_path, "slow", model=slow_model(10**6), manifest="")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(run, trials, slow)
        wait_until(lambda: any(each.children() for each in trial_servers()))
        tried = [child for each in trial_servers() for child in each.children()]
        for each in trial_servers():
            each.kill()
        wait_until(lambda: not any(is_alive(each) for each in tried))
        trials.close()  # it is being tried once more
        assert asked.result(20).reason == "the server is stopping"


def trial_servers() -> list[psutil.Process]:
    children = [each for each in psutil.Process().children() if is_alive(each)]
    return [each for each in children if "serve_trials" in " ".join(each.cmdline())]


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_what_does_not_answer_in_time_is_ended(tmp_path: Path) -> None:
    slow = write_artifact(tmp_path, "slow", model=slow_model(10**6), manifest="")
    with trying(tmp_path, load_timeout_s=1) as trials:
        assert run(trials, slow).reason == "it has not answered within 1 s"
        assert run(trials, write_artifact(tmp_path)).digest


def test_the_process_that_tries_is_started_again_when_it_has_died(trials: Trials, tmp_path: Path) -> None:
    path = write_artifact(tmp_path)
    assert run(trials, path).digest
    for each in trial_servers():
        each.kill()
        wait_until(lambda each=each: not is_alive(each))  # type: ignore[misc]
    assert run(trials, path).digest
