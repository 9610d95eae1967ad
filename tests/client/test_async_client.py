import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from artifacts import SIDE, assert_close, tiny_answer
from processes import ServerProcess
from strata.v1.catalog_pb2 import ListModelsResponse
from strata_client import (
    AsyncClient,
    Cancelled,
    Client,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    Retries,
    Unavailable,
)
from strata_client._calls import Call, Conversation
from waiting import wait_until

Peer = Callable[..., AbstractContextManager[str]]
IMAGES = np.random.default_rng(3).random((50, SIDE, SIDE, 1), np.float32)


def public_methods(kind: type) -> dict[str, Any]:
    return {name: member for name, member in vars(kind).items() if not name.startswith("_") and callable(member)}


def test_both_clients_have_the_same_methods_with_the_same_parameters() -> None:
    waiting, asynchronous = public_methods(Client), public_methods(AsyncClient)
    assert list(waiting) == list(asynchronous)
    # Inputs and answers of a stream are iterated over as its client waits for them.
    assert list(inspect.signature(Client.stream).parameters) == list(inspect.signature(AsyncClient.stream).parameters)
    del waiting["stream"], asynchronous["stream"]
    for name in ("__init__", *waiting):
        one, other = (inspect.signature(getattr(kind, name)) for kind in (Client, AsyncClient))
        assert one.parameters == other.parameters, name
        assert one.return_annotation == other.return_annotation, name
    assert all(map(inspect.iscoroutinefunction, asynchronous.values()))


def test_both_clients_answer_the_same(tiny: ServerProcess, picture: Path) -> None:
    async def ask() -> list[Any]:
        async with AsyncClient(tiny.grpc) as client:
            client._limits.answer_bytes = 1000
            return [
                await client.models(),
                await client.describe("tiny:1"),
                await client.layers(),
                list(await client.predict(picture)),
                await client.health(),
                await client.diff("tiny:1", "tiny:12", IMAGES),
                dict(await client.activations(IMAGES, ["double"])),
            ]

    *others, activations = asyncio.run(ask())
    with Client(tiny.grpc) as client:
        assert others == [
            client.models(),
            client.describe("tiny:1"),
            client.layers(),
            list(client.predict(picture)),
            client.health(),
            client.diff("tiny:1", "tiny:12", IMAGES),
        ]
    assert_close(activations["double"], tiny_answer(IMAGES)["double"])


class Noting(dict[str, Any]):
    """Arrays that note the threads in which they are taken."""

    def __getitem__(self, name: str) -> Any:
        self.threads = {*getattr(self, "threads", ()), threading.get_ident()}
        return super().__getitem__(name)


class Unopened(PathLike[str]):
    """A path that notes the threads in which it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.threads: set[int] = set()

    def __fspath__(self) -> str:
        self.threads.add(threading.get_ident())
        return str(self.path)


def test_files_and_large_arrays_are_written_beside_the_loop_and_small_ones_in_it(
    tiny: ServerProcess, picture: Path
) -> None:
    small, large = Noting(image=IMAGES), Noting(image=np.resize(IMAGES, (20_000, SIDE, SIDE, 1)))
    path = Unopened(picture)

    async def ask() -> int:
        async with AsyncClient(tiny.grpc) as client:
            await client.predict(small, top=0)
            await client.predict(large, top=0)
            await client.predict(path)
            assert len([each async for each in client.stream([path, path])]) == 2
        return threading.get_ident()

    loop = asyncio.run(ask())
    assert small.threads == {loop}
    assert loop not in large.threads | path.threads


def test_large_answers_are_read_beside_the_loop_and_joined_there(peer: Peer) -> None:
    names = iter(["x", "x" * 2**21, "x", "x"])
    threads = []

    def read(_: bytes) -> None:
        threads.append(threading.get_ident())

    def converse(call: Call[None]) -> Conversation[None]:
        yield call
        yield call
        threads.append(threading.get_ident())
        yield [call, call]
        threads.append(threading.get_ident())

    async def ask(address: str) -> int:
        async with AsyncClient(address) as client:
            await client._hold(converse(Call("/strata.v1.CatalogService/ListModels", b"", read)), 20)
        return threading.get_ident()

    with peer({"ListModels": lambda *_: ListModelsResponse(models=[{"name": next(names)}])}) as address:
        loop = asyncio.run(ask(address))
    assert [each == loop for each in threads] == [True, False, True, True, True, False]


def test_tasks_ask_at_the_same_time(tiny: ServerProcess) -> None:
    async def ask() -> list[Any]:
        async with AsyncClient(tiny.grpc) as client:
            rows = [client.activations(row[None], ["double"]) for row in IMAGES]
            return await asyncio.gather(*rows)

    found = np.concatenate([activations["double"] for activations in asyncio.run(ask())])
    assert_close(found, tiny_answer(IMAGES)["double"])


def test_errors_are_the_same(tiny: ServerProcess) -> None:
    async def ask() -> None:
        async with AsyncClient(tiny.grpc) as client:
            with pytest.raises(NotFound, match="nearest: 'double'"):
                await client.activations(IMAGES[:1], ["doubel"])
            with pytest.raises(InvalidArgument, match="timeout_s"):
                await client.models(timeout_s=0)
        async with AsyncClient("localhost:1", retries=Retries(attempts=2, first_wait_s=0)) as client:
            with pytest.raises(Unavailable, match="no server answers at localhost:1: Connection refused"):
                await client.models()

    asyncio.run(ask())


class Waiting:
    """Answers nothing until its caller is gone."""

    def __init__(self) -> None:
        self.asked, self.gone = threading.Event(), threading.Event()

    def __call__(self, _: object, context: grpc.ServicerContext) -> ListModelsResponse:
        context.add_callback(self.gone.set)
        self.asked.set()
        assert self.gone.wait(20)
        return ListModelsResponse()


@asynccontextmanager
async def asking(client: AsyncClient, waiting: Waiting) -> AsyncIterator["asyncio.Task[Any]"]:
    """Ask in a task, as far as the server."""
    task = asyncio.create_task(client.models())
    assert await asyncio.to_thread(waiting.asked.wait, 20)
    yield task


def test_a_task_that_is_cancelled_cancels_its_call(peer: Peer) -> None:
    waiting = Waiting()

    async def ask(address: str) -> None:
        async with AsyncClient(address) as client, asking(client, waiting) as task:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(waiting.gone.wait, 20)

    with peer({"ListModels": waiting}) as address:
        asyncio.run(ask(address))


def test_closing_the_client_ends_a_call_that_waits(peer: Peer) -> None:
    waiting = Waiting()

    async def ask(address: str) -> None:
        client = AsyncClient(address)
        async with asking(client, waiting) as task:
            await client.close()
            with pytest.raises(Cancelled, match="the client is closed"):
                await task
        with pytest.raises(Cancelled, match="the client is closed"):
            await client.models()

    with peer({"ListModels": waiting}) as address:
        asyncio.run(ask(address))


def test_closing_the_client_ends_a_wait(peer: Peer) -> None:
    asked = threading.Event()

    def refuse(_: object, context: grpc.ServicerContext) -> None:
        context.set_trailing_metadata((("grpc-retry-pushback-ms", "20000"),))
        context.add_callback(asked.set)
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "not now")

    async def ask(address: str) -> None:
        client = AsyncClient(address, connections=1)
        task = asyncio.create_task(client.models())
        assert await asyncio.to_thread(asked.wait, 20)
        await client.health()  # on the same connection: what was refused before has arrived
        await client.close()
        with pytest.raises(Cancelled, match="the client is closed"):
            await asyncio.wait_for(task, 10)

    with peer({"ListModels": refuse}) as address:
        asyncio.run(ask(address))


def test_a_server_that_is_too_slow_is_given_up(peer: Peer) -> None:
    async def ask(address: str) -> None:
        async with AsyncClient(address, timeout_s=0.3) as client:
            with pytest.raises(DeadlineExceeded, match=r"within 0.3 s"):
                await client.models()

    with peer({"ListModels": Waiting()}) as address:
        asyncio.run(ask(address))


def test_a_call_that_may_succeed_later_is_made_again(peer: Peer) -> None:
    calls = []

    def refuse(_: object, context: grpc.ServicerContext) -> ListModelsResponse:
        calls.append(context.peer())
        if len(calls) < 3:
            context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        return ListModelsResponse()

    async def ask(address: str) -> None:
        async with AsyncClient(address, retries=Retries(first_wait_s=0.001)) as client:
            assert await client.models() == []

    with peer({"ListModels": refuse}) as address:
        asyncio.run(ask(address))
    assert len(set(calls)) == 3


def test_a_client_made_outside_of_a_loop_belongs_to_the_first_that_it_is_used_in(tiny: ServerProcess) -> None:
    client = AsyncClient(tiny.grpc)
    assert asyncio.run(client.models())
    with pytest.raises(Cancelled, match="belongs to another event loop"):
        asyncio.run(client.models())
    asyncio.run(client.close())


def test_a_file_that_cannot_be_read_ends_a_request_in_parts(tiny: ServerProcess, picture: Path, tmp_path: Path) -> None:
    async def ask() -> None:
        async with AsyncClient(tiny.grpc, max_message_bytes=1000) as client:
            await client.predict([picture] * 100)
            with pytest.raises(FileNotFoundError):
                await client.predict([*[picture] * 50, tmp_path / "none.png", *[picture] * 50])
            assert await client.models()

    asyncio.run(ask())


def test_threads_of_a_client_end_with_it(tiny: ServerProcess) -> None:
    def count() -> int:
        return sum(thread.name.startswith("strata-client") for thread in threading.enumerate())

    before = count()
    with Client(tiny.grpc, max_message_bytes=1000) as client:
        client.predict(IMAGES)
        assert 0 < count() - before < 4
    wait_until(lambda: count() == before)
