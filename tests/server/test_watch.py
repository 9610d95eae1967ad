"""A model repository that is watched: what is put there is served, and what is taken away is not."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from artifacts import SIDE, crashing_model, tiny_model, write_artifact, write_bytes
from processes import ServerProcess, serving
from strata.v1 import catalog_pb2, inference_pb2
from waiting import wait_until
from wire import WAIT_S, Stubs, connect, tensors

IMAGE = np.ones((1, SIDE, SIDE, 1), np.float32)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    write_artifact(tmp_path / "models", version=1, model=tiny_model(1))
    return tmp_path / "models"


@pytest.fixture(params=[1, 2], ids=["alone", "two workers"])
def server(request: pytest.FixtureRequest, models: Path) -> Iterator[ServerProcess]:
    with serving(models, "--repository", "watch", "--workers", str(request.param)) as server:
        yield server


@pytest.fixture
def stubs(server: ServerProcess) -> Iterator[list[Stubs]]:
    """Connections to every worker, as far as chance has it."""
    stubs = [connect(server.grpc, alone=True) for _ in range(8)]
    yield stubs
    for each in stubs:
        each.channel.close()


def ask(stubs: Stubs, version: str = "") -> tuple[str, float]:
    """Return which version answers, and by what it multiplies."""
    reference = catalog_pb2.ModelReference(name="tiny", version=version)
    request = inference_pb2.GetActivationsRequest(model=reference, layers=["double"], tensors=tensors(IMAGE))
    answer = stubs.activations(request)
    return answer.model.version, float(np.frombuffer(answer.activations[0].data, np.float32)[0])


def list_versions(stubs: list[Stubs]) -> set[tuple[str, ...]]:
    """Return what is served, as each connection has it."""
    answers = [each.catalog.ListModels(catalog_pb2.ListModelsRequest(), timeout=WAIT_S) for each in stubs]
    return {tuple(f"{model.name}:{model.version}" for model in answer.models) for answer in answers}


def test_a_new_version_is_served_and_one_that_is_removed_is_not(models: Path, stubs: list[Stubs]) -> None:
    assert ask(stubs[0]) == ("1", 1)
    write_artifact(models, version=2, model=tiny_model(2))
    wait_until(lambda: {ask(each) for each in stubs} == {("2", 2)})
    assert ask(stubs[0], "1") == ("1", 1)
    shutil.rmtree(models / "tiny" / "2")
    wait_until(lambda: {ask(each) for each in stubs} == {("1", 1)})


def test_a_new_model_is_served_and_one_that_is_removed_is_not(models: Path, stubs: list[Stubs]) -> None:
    write_artifact(models, "other")
    wait_until(lambda: list_versions(stubs) == {("other:1", "tiny:1")})
    shutil.rmtree(models / "tiny")
    wait_until(lambda: list_versions(stubs) == {("other:1",)})
    with pytest.raises(grpc.RpcError) as caught:
        ask(stubs[0])
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_version_replaced_in_place_is_another(models: Path, stubs: list[Stubs]) -> None:
    assert ask(stubs[0]) == ("1", 1)
    write_artifact(models, version=1, model=tiny_model(3))
    wait_until(lambda: {ask(each) for each in stubs} == {("1", 3)})


@pytest.mark.parametrize("kind", ["damaged", "crashing"])
def test_a_broken_version_is_refused_and_the_old_one_goes_on(
    kind: str, models: Path, server: ServerProcess, stubs: list[Stubs]
) -> None:
    broken = b"no model" if kind == "damaged" else crashing_model().SerializeToString()
    write_bytes(models, broken, version=2)
    wait_until(lambda: "model tiny version 2 cannot be served" in server.log)
    write_bytes(models, broken, version=1)
    wait_until(lambda: "model tiny version 1 cannot be served" in server.log)
    assert {ask(each) for each in stubs} == {("1", 1)}
    write_artifact(models, version=2, model=tiny_model(2))
    wait_until(lambda: {ask(each) for each in stubs} == {("2", 2)})
    assert ask(stubs[0], "1") == ("1", 1)


def test_settings_choose_versions_and_name_them(models: Path, stubs: list[Stubs]) -> None:
    for number in (2, 3):
        write_artifact(models, version=number, model=tiny_model(number))
    wait_until(lambda: list_versions(stubs) == {("tiny:1", "tiny:2", "tiny:3")})
    settings = models / "tiny" / "strata.toml"
    settings.write_text("versions = [1, 2]\nlabels = { stable = 1 }\n")
    wait_until(lambda: list_versions(stubs) == {("tiny:1", "tiny:2")})
    assert {ask(each, "stable") for each in stubs} == {("1", 1)}
    settings.write_text("versions = { latest = 1 }\nlabels = { stable = 3 }\n")
    wait_until(lambda: list_versions(stubs) == {("tiny:3",)})
    assert {ask(each, "stable") for each in stubs} == {("3", 3)}


def test_settings_that_cannot_be_read_change_nothing(models: Path, server: ServerProcess, stubs: list[Stubs]) -> None:
    (models / "tiny" / "strata.toml").write_text("version = 1\n")
    wait_until(lambda: "model tiny: what was served goes on: strata.toml" in server.log)
    assert {ask(each) for each in stubs} == {("1", 1)}


def test_a_version_that_is_written_piece_by_piece_is_served_once_it_is_whole(
    models: Path, server: ServerProcess, stubs: list[Stubs]
) -> None:
    whole = write_artifact(models.parent / "elsewhere", version=2, model=tiny_model(2)).read_bytes()
    path = models / "tiny" / "2" / "model.onnx"
    path.parent.mkdir()
    with path.open("wb") as file:
        for start in range(0, len(whole), 100):
            file.write(whole[start : start + 100])
            file.flush()
            assert ask(stubs[0]) == ("1", 1)
    wait_until(lambda: {ask(each) for each in stubs} == {("2", 2)})
    assert "Traceback" not in server.log


def test_a_watched_repository_may_be_empty_at_first(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    with serving(tmp_path / "models", "--repository", "watch") as server:
        stubs = connect(server.grpc)
        assert list_versions([stubs]) == {()}
        write_artifact(tmp_path / "models")
        wait_until(lambda: list_versions([stubs]) == {("tiny:1",)})
        stubs.channel.close()
