import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import grpc
import pytest
from artifacts import write_artifact, write_bytes
from processes import ServerProcess, serving
from strata_client import (
    AsyncClient,
    Client,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    RepositoryVersion,
    Unavailable,
)

Peer = Callable[..., AbstractContextManager[str]]

READY = RepositoryVersion("tiny", "3", "ready", "")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with a good model and a broken one, that loads and unloads by request."""
    models = tmp_path_factory.mktemp("repository")
    write_artifact(models, "tiny", 3)
    write_bytes(models, b"no model", "broken")
    with serving(models, "--repository", "explicit") as server:
        yield server


def test_every_version_is_listed_with_its_state_and_the_reason(server: ServerProcess) -> None:
    with Client(server.grpc) as client:
        broken, tiny = client.versions()
    assert tiny == READY
    assert (broken.name, broken.version, broken.state) == ("broken", "1", "unavailable")
    assert "not an ONNX model" in broken.reason


def test_a_model_is_unloaded_and_loaded_again(server: ServerProcess) -> None:
    with Client(server.grpc) as client:
        client.unload("tiny")
        assert client.versions()[1] == RepositoryVersion("tiny", "3", "unavailable", "unloaded")
        assert client.models() == []
        client.load("tiny")
        assert client.versions()[1] == READY


def test_the_asynchronous_client_does_the_same(server: ServerProcess) -> None:
    async def change() -> list[RepositoryVersion]:
        async with AsyncClient(server.grpc) as client:
            await client.unload("tiny")
            unloaded = (await client.versions())[1]
            await client.load("tiny")
            return [unloaded, (await client.versions())[1]]

    assert asyncio.run(change()) == [RepositoryVersion("tiny", "3", "unavailable", "unloaded"), READY]


def test_what_cannot_be_is_refused_with_an_error_of_its_own(server: ServerProcess, tiny: ServerProcess) -> None:
    with Client(server.grpc) as client:
        with pytest.raises(FailedPrecondition, match="model broken cannot be served"):
            client.load("broken")
        with pytest.raises(NotFound, match="nearest: 'tiny'"):
            client.unload("tyni")
        with pytest.raises(InvalidArgument, match="expected the name of a model, received none"):
            client.load("")
    with Client(tiny.grpc) as client, pytest.raises(PermissionDenied, match="expected explicit"):
        client.load("tiny")


@pytest.mark.parametrize("change", ["load", "unload"])
def test_a_change_is_never_made_twice(peer: Peer, change: str) -> None:
    made = []

    def refuse(request: object, context: grpc.ServicerContext) -> None:  # noqa: ARG001 - a method has it
        made.append(change)
        context.abort(grpc.StatusCode.UNAVAILABLE, "gone")

    with (
        peer({"LoadModel": refuse, "UnloadModel": refuse}) as address,
        Client(address) as client,
        pytest.raises(Unavailable),
    ):
        getattr(client, change)("tiny")
    assert made == [change]
