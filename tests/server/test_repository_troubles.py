"""What goes wrong in a model repository: it is told, it harms nothing that is served, and it can be repaired."""

import contextlib
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import psutil
import pytest
from artifacts import SIDE, crashing_model, slow_model, tiny_model, write_artifact, write_bytes
from open_inference import call
from processes import ServerProcess, serving
from strata.v1 import catalog_pb2, inference_pb2
from strata_server.rpc.open_inference import open_inference_pb2 as pb
from waiting import wait_until
from wire import Stubs, connect, tensors

IMAGE = np.ones((1, SIDE, SIDE, 1), np.float32)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    write_artifact(tmp_path / "models", version=1, model=tiny_model(1))
    return tmp_path / "models"


@contextlib.contextmanager
def asking(models: Path, *flags: str) -> Iterator[tuple[ServerProcess, Stubs]]:
    with serving(models, *flags) as server:
        stubs = connect(server.grpc, alone=True)
        yield server, stubs
        stubs.channel.close()


def answering(stubs: Stubs, model: str = "tiny", version: str = "") -> str:
    """Return which version answers; nothing if none does."""
    reference = catalog_pb2.ModelReference(name=model, version=version)
    request = inference_pb2.GetActivationsRequest(model=reference, layers=["double"], tensors=tensors(IMAGE))
    try:
        return stubs.activations(request).model.version
    except grpc.RpcError as error:
        assert error.code() is grpc.StatusCode.NOT_FOUND, error  # noqa: PT017 - which is an answer as well
        return ""


def index(stubs: Stubs) -> dict[tuple[str, str], tuple[str, str]]:
    listed = call(stubs, "RepositoryIndex", pb.RepositoryIndexRequest(), pb.RepositoryIndexResponse)
    return {(each.name, each.version): (each.state, each.reason) for each in listed.models}


def load(stubs: Stubs, model: str = "tiny") -> str:
    """Return why a load call is refused; nothing if it is not."""
    request: Any = pb.RepositoryModelLoadRequest(model_name=model)
    try:
        call(stubs, "RepositoryModelLoad", request, pb.RepositoryModelLoadResponse)
    except grpc.RpcError as error:
        assert error.code() is grpc.StatusCode.FAILED_PRECONDITION, error  # noqa: PT017 - as above
        return error.details() or ""
    return ""


def unload(stubs: Stubs, model: str = "tiny") -> None:
    request = pb.RepositoryModelUnloadRequest(model_name=model)
    call(stubs, "RepositoryModelUnload", request, pb.RepositoryModelUnloadResponse)


def write_settings(models: Path, text: str, model: str = "tiny") -> None:
    path = models / model / "strata.toml"
    path.with_name(".partial").write_text(text)
    path.with_name(".partial").rename(path)


def readiness(server: ServerProcess) -> int:
    try:
        return httpx.get(f"{server.http}/readyz", timeout=5).status_code
    except httpx.TransportError:  # whoever had accepted it has died
        return 0


def replace_worker(server: ServerProcess, expected: int = 200) -> None:
    """Kill a worker, and wait until another has its place."""
    victim = server.workers[0]
    victim.kill()
    wait_until(lambda: not victim.is_running())
    wait_until(lambda: readiness(server) == expected and len(server.workers) == 2)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_version_that_only_some_values_make_crash_is_refused_and_harms_nobody(models: Path, workers: str) -> None:
    with asking(models, "--repository", "watch", "--workers", workers) as (server, stubs):
        pids = {worker.pid for worker in server.workers}
        write_bytes(models, crashing_model(harmless_below=0.5).SerializeToString(), version=2)
        wait_until(lambda: index(stubs).get(("tiny", "2"), ("", ""))[0] == "UNAVAILABLE")
        assert "with SIGFPE" in index(stubs)["tiny", "2"][1]
        assert answering(stubs) == "1"
        assert {worker.pid for worker in server.workers} == pids


def test_one_bad_version_does_not_keep_a_good_one_out(models: Path) -> None:
    with asking(models, "--repository", "explicit") as (_, stubs):
        write_bytes(models, crashing_model(harmless_below=0.5).SerializeToString(), version=3)
        write_artifact(models, version=2, model=tiny_model(2))
        assert "version 3: it crashes the process" in load(stubs)
        assert answering(stubs) == "2"
        assert index(stubs)["tiny", "2"] == ("READY", "")


def test_what_is_repaired_in_place_has_nothing_against_it_any_more(models: Path) -> None:
    with asking(models, "--repository", "watch") as (_, stubs):
        write_bytes(models, b"no model")
        wait_until(lambda: "newer files are refused" in index(stubs)["tiny", "1"][1])
        assert answering(stubs) == "1"
        write_artifact(models, model=tiny_model(5))
        wait_until(lambda: index(stubs)["tiny", "1"] == ("READY", ""))


def test_settings_that_cannot_be_are_refused_each_time_they_are_loaded(models: Path) -> None:
    write_artifact(models, "other")
    write_settings(models, "vrsions = [1]\n", "other")
    with asking(models, "--repository", "explicit") as (_, stubs):
        for _ in range(2):
            assert "vrsions" in load(stubs, "other")
        assert ("other", "1") in index(stubs)
        assert answering(stubs, "other") == ""
        write_settings(models, "vrsions = [1]\n")
        for _ in range(2):
            assert "vrsions" in load(stubs)
        assert answering(stubs) == "1"
        write_settings(models, "versions = [1]\n")
        assert load(stubs) == ""
        assert index(stubs)["tiny", "1"] == ("READY", "")


def test_settings_that_a_served_version_contradicts_change_nothing(models: Path) -> None:
    write_artifact(models, version=2, model=tiny_model(2))
    with asking(models, "--repository", "explicit") as (_, stubs):
        (models / "tiny" / "classes.txt").write_text("one\ntwo\n")
        write_settings(models, 'label_file = "classes.txt"\n')
        assert "its settings are refused: version 1" in load(stubs)
        assert answering(stubs) == "2"
        assert "its settings are refused" in index(stubs)["tiny", ""][1]
        (models / "tiny" / "classes.txt").write_text("one\ntwo\nthree\n")
        assert load(stubs) == ""
        assert ("tiny", "") not in index(stubs)


def test_a_load_that_leaves_nothing_to_serve_says_so(models: Path) -> None:
    with asking(models, "--repository", "explicit") as (_, stubs):
        write_settings(models, "versions = [7]\n")
        assert "choose no version that can be served" in load(stubs)
        assert answering(stubs) == "1"
        unload(stubs)
        assert "it has no version that can be served" in load(stubs)
        assert answering(stubs) == ""


def test_a_new_worker_serves_what_is_left_and_readiness_tells_that_it_lacks_something(models: Path) -> None:
    write_artifact(models, version=2, model=tiny_model(2))
    with asking(models, "--repository", "explicit", "--workers", "2") as (server, _):
        shutil.rmtree(models / "tiny" / "1")
        replace_worker(server, expected=503)
        wait_until(lambda: "this worker lacks what the others serve: version 1" in server.log)
        many = [connect(server.grpc, alone=True) for _ in range(12)]
        assert {answering(each) for each in many} == {"2"}
        write_artifact(models, version=3, model=tiny_model(3))
        assert load(many[0]) == ""
        wait_until(lambda: readiness(server) == 200)
        assert {answering(each) for each in many} == {"3"}
        for each in many:
            each.channel.close()


def test_a_slice_that_was_to_be_warm_keeps_no_worker_from_coming_back(models: Path) -> None:
    flags = ("--repository", "explicit", "--workers", "2", "--warm", "tiny", "double")
    with asking(models, *flags) as (server, stubs):
        unload(stubs)
        stubs.channel.close()
        replace_worker(server)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_stop_ends_what_is_being_tried(models: Path, workers: str) -> None:
    with serving(models, "--repository", "watch", "--workers", workers) as server:
        write_artifact(models, version=2, model=slow_model(10**6), manifest="")
        wait_until(lambda: "trial" in {describe(each) for each in descendants(server)})
        processes = descendants(server)
        begun = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.wait() == 0
        assert time.monotonic() - begun < 15
    wait_until(lambda: not any(is_alive(each) for each in processes))


def descendants(server: ServerProcess) -> list[psutil.Process]:
    return psutil.Process(server.process.pid).children(recursive=True)


def describe(process: psutil.Process) -> str:
    """Say whether a process tries an artifact: it is the child of the one that waits to."""
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = process.parent()
        command = "serve_trials" in " ".join(process.cmdline())
        if command and parent and "serve_trials" in " ".join(parent.cmdline()):
            return "trial"
    return ""


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_other_changes_do_not_wait_for_what_is_being_tried(models: Path) -> None:
    with asking(models, "--repository", "watch", "--drain-s", "1") as (server, stubs):
        write_artifact(models, version=2, model=slow_model(10**6), manifest="")
        wait_until(lambda: "trial" in {describe(each) for each in descendants(server)})
        request = pb.LogSettingsRequest()
        request.settings["log_info"].bool_param = True
        call(stubs, "LogSettings", request, pb.LogSettingsResponse)
        assert index(stubs)["tiny", "2"] == ("LOADING", "")
        assert answering(stubs) == "1"


def test_a_file_that_grows_beside_the_versions_holds_nothing_up(models: Path) -> None:
    with asking(models, "--repository", "watch") as (_, stubs), (models / "tiny" / "train.log").open("w") as growing:

        def is_served() -> bool:
            growing.write("one more line\n")
            growing.flush()
            return answering(stubs) == "2"

        write_artifact(models, version=2, model=tiny_model(2))
        wait_until(is_served)
