"""Versions pushed in a row, some of them broken, while clients ask without pause.

Every answer is recorded with when it was asked and when it came, and the history is checked against what may be:
no request fails; an answer is of one version and of no other; it is none that was replaced before it was asked, and none
that was not there yet when it came.
"""

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
from artifacts import SIDE, crashing_model, tiny_model, write_artifact, write_bytes
from processes import ServerProcess, serving
from strata.v1 import inference_pb2
from strata_server.rpc.open_inference import open_inference_pb2 as pb
from waiting import wait_until
from wire import Stubs, connect, tensors

CLIENTS = 16
SERVICE = "/inference.GRPCInferenceService"
LAYERS = ("double", "scores", "flat", "predictions")
# What an allocator keeps of what came and went; a version that was kept would be ten times that after 200 of them.
GROWTH_BYTES = 48 * 2**20


@dataclass(frozen=True)
class Asked:
    """One request and its answer."""

    began: float
    ended: float
    version: int
    """That answered, as it says."""
    factor: float
    """By which the version multiplies that has computed the answer."""


class Client(threading.Thread):
    """Asks without pause, each time for something else, and records what it gets."""

    def __init__(self, address: str, seed: int, stopped: threading.Event) -> None:
        super().__init__()
        self._stubs = connect(address, alone=True)
        self._random = random.Random(seed)  # noqa: S311 - the same each time
        self._stopped = stopped
        self.history: list[Asked] = []
        self.failures: list[str] = []

    def run(self) -> None:
        """Ask until it is told to stop."""
        while not self._stopped.is_set():
            try:
                self.history.append(self._ask())
            except grpc.RpcError as error:
                self.failures.append(str(error))
        self._stubs.channel.close()

    def _ask(self) -> Asked:
        rows = self._random.choice((1, 1, 1, 3))
        image = np.full((rows, SIDE, SIDE, 1), 1 + self._random.random(), np.float32)
        layers = list(dict.fromkeys(["double", self._random.choice(LAYERS)]))
        request = inference_pb2.GetActivationsRequest(layers=layers, tensors=tensors(image))
        began = time.monotonic()
        answer = self._stubs.activations(request)
        ended = time.monotonic()
        values = np.frombuffer(answer.activations[0].data, np.float32) / image.ravel()
        assert values.max() - values.min() < 1e-3 * values.max(), "rows of several versions in one answer"
        return Asked(began, ended, int(answer.model.version), float(values[0]))


def write_broken(models: Path, version: int, kind: int) -> None:
    """Write a version that cannot be served, of one of three kinds."""
    whole = tiny_model(version).SerializeToString()
    write_bytes(
        models, [b"no model", whole[: len(whole) // 2], crashing_model().SerializeToString()][kind % 3], version=version
    )


def resident_bytes(server: ServerProcess) -> int:
    process = psutil.Process(server.process.pid)
    return sum(each.memory_info().rss for each in (process, *process.children(recursive=True)))


def list_states(stubs: Stubs) -> dict[str, str]:
    body = stubs.call(f"{SERVICE}/RepositoryIndex", pb.RepositoryIndexRequest().SerializeToString())
    return {each.version: each.state for each in pb.RepositoryIndexResponse.FromString(body).models}


def push_and_watch(models: Path, stubs: Stubs, version: int, *, broken: bool) -> None:
    """Put a version into a watched repository, and wait until it is served, or refused."""
    if broken:
        write_broken(models, version, version // 10)
    else:
        write_artifact(models, version=version, model=tiny_model(version))
    state = "UNAVAILABLE" if broken else "READY"
    wait_until(lambda: list_states(stubs).get(str(version)) == state, 60)


def push_and_load(models: Path, stubs: Stubs, version: int, *, broken: bool) -> None:
    """Put a version into a repository, and have it loaded."""
    if broken:
        write_broken(models, version, version // 10)
    else:
        write_artifact(models, version=version, model=tiny_model(version))
    request = pb.RepositoryModelLoadRequest(model_name="tiny").SerializeToString()
    if not broken:
        stubs.call(f"{SERVICE}/RepositoryModelLoad", request, timeout_s=60)
        return
    with pytest.raises(grpc.RpcError, match=f"version {version}") as caught:
        stubs.call(f"{SERVICE}/RepositoryModelLoad", request, timeout_s=60)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


@pytest.fixture
def models(tmp_path: Path) -> Path:
    write_artifact(tmp_path / "models", version=1, model=tiny_model(1))
    (tmp_path / "models" / "tiny" / "strata.toml").write_text("versions = { latest = 1 }\n")
    return tmp_path / "models"


@pytest.fixture(params=[("watch", 1), ("explicit", 2)], ids=["watched", "loaded in two workers"])
def server(request: pytest.FixtureRequest, models: Path) -> Iterator[ServerProcess]:
    mode, workers = request.param
    with serving(models, "--repository", mode, "--workers", str(workers)) as server:
        yield server


@pytest.mark.parametrize("versions", [12, pytest.param(200, marks=pytest.mark.full_size)])
def test_versions_pushed_under_load_fail_no_request_and_leave_nothing(
    versions: int, models: Path, server: ServerProcess, request: pytest.FixtureRequest
) -> None:
    watched = "watched" in request.node.name
    push: Callable[..., None] = push_and_watch if watched else push_and_load
    stopped = threading.Event()
    clients = [Client(server.grpc, seed, stopped) for seed in range(CLIENTS)]
    stubs = connect(server.grpc, alone=True)
    for client in clients:
        client.start()
    there_from, there = {1: 0.0}, {1: 0.0}
    warmed_up = 0
    try:
        for version in range(2, versions + 2):
            there_from[version] = time.monotonic()
            push(models, stubs, version, broken=version % 10 == 0)
            there[version] = time.monotonic()
            if version == max(10, versions // 10):
                warmed_up = resident_bytes(server)
    finally:
        stopped.set()
        for client in clients:
            client.join(30)
    assert not [failure for client in clients for failure in client.failures]
    assert all(client.history for client in clients)
    history = list(itertools.chain.from_iterable(client.history for client in clients))
    assert len({asked.version for asked in history}) > versions * 0.8
    for asked in history:
        check_one(asked, there_from, there)
    assert resident_bytes(server) - warmed_up < GROWTH_BYTES
    stubs.channel.close()
    print(f"{versions} versions, {len(history)} answers, {(resident_bytes(server) - warmed_up) / 2**20:+.1f} MiB")


def check_one(asked: Asked, there_from: dict[int, float], there: dict[int, float]) -> None:
    """Check that an answer is of a version that was visible while it was asked."""
    assert round(asked.factor) == asked.version, "the answer of one version under the number of another"
    assert asked.version % 10 != 0 or asked.version == 0, "a broken version has answered"
    assert asked.ended > there_from[asked.version], "a version has answered that was not there yet"
    good = (version for version in there if version > asked.version and version % 10)
    replaced = next(good, None)
    if replaced is not None:
        assert asked.began < there[replaced], "a version has answered that was replaced before it was asked"
