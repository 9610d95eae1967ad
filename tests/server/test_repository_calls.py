"""The repository RPCs: what is in the model repository, and what of it is served."""

import os
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import grpc
import pytest
from artifacts import write_artifact
from open_inference import call, refusal_of
from processes import ServerProcess, serving
from strata.v1 import repository_pb2, repository_pb2_grpc
from strata_server.rpc.open_inference import open_inference_pb2 as pb
from wire import WAIT_S, Stubs, connect


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with a good model and a broken one, that loads and unloads by request."""
    models = tmp_path_factory.mktemp("repository")
    write_artifact(models, "tiny", 3)
    broken = models / "broken" / "1" / "model.onnx"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"no model")
    with serving(models, "--repository", "explicit") as server:
        yield server


@pytest.fixture
def stubs(server: ServerProcess) -> Iterator[Stubs]:
    stubs = connect(server.grpc)
    yield stubs
    stubs.channel.close()


def index(stubs: Stubs, **fields: Any) -> dict[tuple[str, str], tuple[str, str]]:
    answer = call(stubs, "RepositoryIndex", pb.RepositoryIndexRequest(**fields), pb.RepositoryIndexResponse)
    return {(each.name, each.version): (each.state, each.reason) for each in answer.models}


def load(stubs: Stubs, **fields: Any) -> Any:
    request = pb.RepositoryModelLoadRequest(**fields)
    return call(stubs, "RepositoryModelLoad", request, pb.RepositoryModelLoadResponse)


def unload(stubs: Stubs, **fields: Any) -> Any:
    request = pb.RepositoryModelUnloadRequest(**fields)
    return call(stubs, "RepositoryModelUnload", request, pb.RepositoryModelUnloadResponse)


@pytest.fixture
def repository(stubs: Stubs) -> repository_pb2_grpc.RepositoryServiceStub:
    """The same calls in strata.v1."""
    return repository_pb2_grpc.RepositoryServiceStub(stubs.channel)


def versions(repository: repository_pb2_grpc.RepositoryServiceStub) -> dict[tuple[str, str], tuple[str, str]]:
    answer = repository.ListVersions(repository_pb2.ListVersionsRequest(), timeout=WAIT_S)
    name = repository_pb2.VersionState.Name
    return {
        (each.name, each.version): (name(each.state).removeprefix("VERSION_STATE_"), each.reason)
        for each in answer.versions
    }


def test_the_index_lists_what_is_served_and_what_is_not_with_the_reason(stubs: Stubs) -> None:
    listed = index(stubs)
    assert listed["tiny", "3"] == ("READY", "")
    state, reason = listed["broken", "1"]
    assert state == "UNAVAILABLE"
    assert reason
    assert list(index(stubs, ready=True)) == [("tiny", "3")]


@pytest.mark.parametrize("field", ["model_name", "repository_name"])
def test_a_model_is_unloaded_and_loaded_again(stubs: Stubs, field: str) -> None:
    answer = unload(stubs, **{field: "tiny"}, parameters={"unload_dependents": {"bool_param": True}})
    assert (answer.model_name, answer.isUnloaded) == ("tiny", True)
    assert index(stubs, ready=True) == {}
    answer = load(stubs, **{field: "tiny"})
    assert (answer.model_name, answer.isLoaded) == ("tiny", True)
    assert list(index(stubs, ready=True)) == [("tiny", "3")]


@pytest.mark.parametrize(
    ("ask", "fields", "status", "reason"),
    [
        (
            load,
            {"model_name": "tiny", "parameters": {"config": {"string_param": "{}"}}},
            "INVALID_ARGUMENT",
            "'config'",
        ),
        (
            load,
            {"model_name": "tiny", "parameters": {"file:1/model.onnx": {"bytes_param": b"x"}}},
            "INVALID_ARGUMENT",
            "without parameters, received 'file:1/model.onnx'",
        ),
        (
            unload,
            {"model_name": "tiny", "parameters": {"force": {"bool_param": True}}},
            "INVALID_ARGUMENT",
            "unknown parameter 'force'; known are unload_dependents",
        ),
        (load, {}, "INVALID_ARGUMENT", "expected the name of a model"),
        (load, {"model_name": "tyni"}, "NOT_FOUND", "nearest: 'tiny'"),
        (load, {"model_name": "../tiny"}, "NOT_FOUND", "unknown model '../tiny'"),
        (load, {"model_name": "tiny", "repository_name": "mine"}, "NOT_FOUND", "unknown repository 'mine'"),
        (unload, {"model_name": "tyni"}, "NOT_FOUND", "unknown model 'tyni'"),
        (load, {"model_name": "broken"}, "FAILED_PRECONDITION", "cannot be served"),
        (index, {"repository_name": "mine"}, "NOT_FOUND", "unknown repository 'mine'"),
    ],
)
def test_a_call_that_cannot_be_meant_is_refused_and_changes_nothing(
    stubs: Stubs, ask: Any, fields: dict[str, Any], status: str, reason: str
) -> None:
    code, details = refusal_of(lambda: ask(stubs, **fields))
    assert code is grpc.StatusCode[status]
    assert reason in details
    assert list(index(stubs, ready=True)) == [("tiny", "3")]


def test_strata_v1_lists_what_the_index_lists(
    repository: repository_pb2_grpc.RepositoryServiceStub, stubs: Stubs
) -> None:
    listed = versions(repository)
    assert listed == index(stubs)
    assert set(listed) == {("broken", "1"), ("tiny", "3")}


def test_strata_v1_unloads_a_model_and_loads_it_again(repository: repository_pb2_grpc.RepositoryServiceStub) -> None:
    repository.UnloadModel(repository_pb2.UnloadModelRequest(name="tiny"), timeout=WAIT_S)
    assert versions(repository)["tiny", "3"] == ("UNAVAILABLE", "unloaded")
    repository.LoadModel(repository_pb2.LoadModelRequest(name="tiny"), timeout=WAIT_S)
    assert versions(repository)["tiny", "3"] == ("READY", "")


@pytest.mark.parametrize(
    ("method", "name", "status", "reason"),
    [
        ("Load", "", "INVALID_ARGUMENT", "expected the name of a model, received none"),
        ("Unload", "", "INVALID_ARGUMENT", "expected the name of a model, received none"),
        ("Load", "tyni", "NOT_FOUND", "unknown model 'tyni'; nearest: 'tiny'"),
        ("Unload", "broken", "NOT_FOUND", "unknown model 'broken'"),
        ("Load", "../tiny", "NOT_FOUND", "unknown model '../tiny'"),
        ("Load", "broken", "FAILED_PRECONDITION", "cannot be served"),
    ],
)
def test_strata_v1_refuses_as_the_other_protocol_does(
    repository: repository_pb2_grpc.RepositoryServiceStub, method: str, name: str, status: str, reason: str
) -> None:
    request = getattr(repository_pb2, f"{method}ModelRequest")(name=name)
    call_it = getattr(repository, f"{method}Model")
    code, details = refusal_of(lambda: call_it(request, timeout=WAIT_S))
    assert code is grpc.StatusCode[status]
    assert reason in details
    assert versions(repository)["tiny", "3"] == ("READY", "")


def test_a_fixed_repository_changes_for_nobody(tiny: ServerProcess) -> None:
    stubs = connect(tiny.grpc)
    for ask in (load, unload):
        code, details = refusal_of(lambda ask=ask: ask(stubs, model_name="tiny"))
        assert code is grpc.StatusCode.PERMISSION_DENIED
        assert "explicit" in details
    repository = repository_pb2_grpc.RepositoryServiceStub(stubs.channel)
    code, details = refusal_of(
        lambda: repository.LoadModel(repository_pb2.LoadModelRequest(name="tiny"), timeout=WAIT_S)
    )
    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert "expected explicit" in details
    stubs.channel.close()


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Stubs]]:
    """Connections to two workers, each several times."""
    models = tmp_path_factory.mktemp("workers")
    write_artifact(models)
    with serving(models, "--workers", "2", "--allow-shared-memory") as server:
        connections = [connect(server.grpc, alone=True) for _ in range(8)]
        yield connections
        for each in connections:
            each.channel.close()


def test_a_log_setting_holds_in_all_workers_before_it_is_answered(workers: list[Stubs]) -> None:
    for level in (1, 2, 3):
        change = pb.LogSettingsRequest(
            settings={"log_verbose_level": pb.LogSettingsRequest.SettingValue(uint32_param=level)}
        )
        call(workers[level], "LogSettings", change, pb.LogSettingsResponse)
        answers = [call(each, "LogSettings", pb.LogSettingsRequest(), pb.LogSettingsResponse) for each in workers]
        assert [answer.settings["log_verbose_level"].uint32_param for answer in answers] == [level] * 8


def test_a_trace_setting_holds_in_all_workers_before_it_is_answered(workers: list[Stubs]) -> None:
    for rate in ("7", "8"):
        change = pb.TraceSettingRequest(settings={"trace_rate": pb.TraceSettingRequest.SettingValue(value=[rate])})
        call(workers[0], "TraceSetting", change, pb.TraceSettingResponse)
        answers = [call(each, "TraceSetting", pb.TraceSettingRequest(), pb.TraceSettingResponse) for each in workers]
        assert [list(answer.settings["trace_rate"].value) for answer in answers] == [[rate]] * 8


def test_shared_memory_is_registered_in_all_workers_or_in_none(workers: list[Stubs]) -> None:
    memory = Path("/dev/shm") / f"strata-workers-{os.getpid()}"  # noqa: S108 - where shm_open has its files
    memory.write_bytes(bytes(64))
    try:
        for size, works in ((65, False), (64, True)):
            request = pb.SystemSharedMemoryRegisterRequest(name="all", key=memory.name, byte_size=size)
            with nullcontext() if works else pytest.raises(grpc.RpcError):
                call(workers[0], "SystemSharedMemoryRegister", request, pb.SystemSharedMemoryRegisterResponse)
            told = pb.SystemSharedMemoryStatusRequest()
            answers = [
                call(each, "SystemSharedMemoryStatus", told, pb.SystemSharedMemoryStatusResponse) for each in workers
            ]
            assert [list(answer.regions) for answer in answers] == [["all"] if works else []] * 8
    finally:
        memory.unlink()
