"""One artifact in this process, asked as a server is."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import psutil
import pytest
from artifacts import SIDE, assert_close, slow_model, tiny_answer, tiny_model, write_artifact
from google.protobuf.message import Message
from open_inference import refusal_of
from strata.v1 import catalog_pb2, inference_pb2, repository_pb2
from strata_server.embedded import Embedded
from strata_server.errors import (
    ArtifactError,
    DeadlinePassed,
    Draining,
    InvalidArgument,
    OverLimit,
    PermissionDenied,
    StrataError,
    Unimplemented,
)
from waiting import wait_until
from wire import Stubs, tensors

CATALOG, INFERENCE = "/strata.v1.CatalogService", "/strata.v1.InferenceService"
REPOSITORY = "/strata.v1.RepositoryService"


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = tmp_path_factory.mktemp("embedded")
    write_artifact(models, "tiny", version=12)
    return models / "tiny" / "12" / "model.onnx"


@pytest.fixture(scope="module")
def embedded(artifact: Path) -> Iterator[Embedded]:
    embedded = Embedded(artifact, threads=1)
    yield embedded
    embedded.close()


def rows(count: int, seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).random((count, SIDE, SIDE, 1), np.float32)


def activations(image: npt.NDArray[np.float32], *layers: str) -> inference_pb2.GetActivationsRequest:
    return inference_pb2.GetActivationsRequest(tensors=tensors(image), layers=layers)


def read(embedded: Embedded, image: npt.NDArray[np.float32], layer: str) -> npt.NDArray[np.float32]:
    body = embedded.call(f"{INFERENCE}/GetActivations", activations(image, layer).SerializeToString(), 20)
    (tensor,) = inference_pb2.GetActivationsResponse.FromString(body).activations
    return np.frombuffer(tensor.data, np.float32).reshape(tensor.shape)


@pytest.mark.parametrize(
    ("path", "request_"),
    [
        (f"{CATALOG}/DescribeModel", catalog_pb2.DescribeModelRequest(model={"name": "tiny", "version": "12"})),
        (f"{INFERENCE}/Predict", inference_pb2.PredictRequest(tensors=tensors(rows(3)), top_k=2)),
        (f"{INFERENCE}/GetActivations", activations(rows(2), "scores", "image", "double")),
        (
            f"{INFERENCE}/GetActivations",
            inference_pb2.GetActivationsRequest(
                tensors=tensors(rows(2)), layers=["double"], reduction={"statistics": True, "half": True}
            ),
        ),
        (f"{INFERENCE}/Stream", inference_pb2.StreamRequest(id="7", get_activations=activations(rows(2), "flat"))),
        ("/grpc.health.v1.Health/Check", catalog_pb2.ListModelsRequest()),
    ],
    ids=["description", "prediction", "activations", "reduced", "one of a stream", "health"],
)
def test_the_answer_is_the_servers_bit_for_bit(embedded: Embedded, stubs: Stubs, path: str, request_: Message) -> None:
    body = request_.SerializeToString()
    if path.endswith("Stream"):
        method: Any = stubs.channel.stream_stream(path)
        (expected,) = method(iter([body]), timeout=20)
    else:
        expected = stubs.call(path, body)
    assert embedded.call(path, body, 20) == expected


@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("GetActivations", activations(rows(1), "no such layer").SerializeToString()),
        ("GetActivations", activations(np.ones((1, 3), np.float32), "double").SerializeToString()),
        ("Predict", inference_pb2.PredictRequest(model={"name": "tyni"}).SerializeToString()),
        ("Predict", b"\xff"),
        (
            "GetActivations",
            activations(np.ones((370_000, SIDE, SIDE, 1), np.float32), "double", "image", "flat").SerializeToString(),
        ),
    ],
    ids=["layer", "shape", "model", "bytes", "limit"],
)
def test_an_error_is_the_servers_with_its_text(embedded: Embedded, stubs: Stubs, method: str, body: bytes) -> None:
    code, details = refusal_of(lambda: stubs.call(f"{INFERENCE}/{method}", body))
    with pytest.raises(StrataError) as caught:
        embedded.call(f"{INFERENCE}/{method}", body, 20)
    assert (caught.value.status, str(caught.value)) == (code.name, details)


def test_it_lists_its_one_version_and_changes_for_nobody(embedded: Embedded) -> None:
    listed = repository_pb2.ListVersionsResponse.FromString(embedded.call(f"{REPOSITORY}/ListVersions", b""))
    ready = repository_pb2.VERSION_STATE_READY
    assert [(each.name, each.version, each.state) for each in listed.versions] == [("tiny", "12", ready)]
    request = repository_pb2.LoadModelRequest(name="tiny").SerializeToString()
    for method in ("LoadModel", "UnloadModel"):
        with pytest.raises(PermissionDenied, match="'tiny' is not allowed"):
            embedded.call(f"{REPOSITORY}/{method}", request)


def test_threads_share_it_and_each_gets_its_own_answer(embedded: Embedded) -> None:
    images = [rows(1 + seed % 3, seed) for seed in range(200)]
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda image: read(embedded, image, "scores"), images))
    for image, answer in zip(images, answers, strict=True):
        assert_close(answer, tiny_answer(image)["scores"])


def test_what_is_no_call_of_it_or_too_large_is_refused(embedded: Embedded) -> None:
    with pytest.raises(Unimplemented, match=r"unknown method '/inference.GRPCInferenceService/ModelInfer'"):
        embedded.call("/inference.GRPCInferenceService/ModelInfer", b"")
    with pytest.raises(OverLimit, match="expected a request of at most 67108864 bytes, received 67108865"):
        embedded.call(f"{INFERENCE}/Predict", bytes(64 * 2**20 + 1))


def write(model: onnx.ModelProto, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize(
    ("place", "model", "expected"),
    [
        ("tiny/3/model.onnx", "", "tiny:3"),
        ("tiny/3/model.onnx", "other", "other:3"),
        ("nets/small.onnx", "", "small:1"),
        ("nets/a b.onnx", "", "model:1"),
        ("tiny/03/model.onnx", "", "model:1"),
    ],
)
def test_name_and_version_come_from_the_path(tmp_path: Path, place: str, model: str, expected: str) -> None:
    embedded = Embedded(write(tiny_model(), tmp_path / place), model=model, threads=1)
    assert embedded.model == expected
    embedded.close()


def test_what_the_models_folder_says_holds(tmp_path: Path) -> None:
    artifact = write(tiny_model(), tmp_path / "tiny" / "3" / "model.onnx")
    (tmp_path / "tiny" / "strata.toml").write_text("[labels]\nstable = 3\n")
    embedded = Embedded(artifact, threads=1)
    request = catalog_pb2.DescribeModelRequest(model={"name": "tiny", "version": "stable"})
    body = embedded.call(f"{CATALOG}/DescribeModel", request.SerializeToString())
    assert catalog_pb2.DescribeModelResponse.FromString(body).model.version == "3"
    embedded.close()


@pytest.mark.parametrize(
    ("make", "error", "reason"),
    [
        (lambda path: Embedded(path / "none.onnx"), ArtifactError, "none.onnx: it is no regular file"),
        (lambda path: Embedded(path, model="a/b"), InvalidArgument, "received 'a/b'"),
        (lambda path: Embedded(path, threads=0), InvalidArgument, "threads: expected 1 or more, received 0"),
    ],
)
def test_what_cannot_be_opened_is_refused_with_the_reason(
    artifact: Path, make: Callable[[Path], Embedded], error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        make(artifact)


def test_nobody_waits_longer_than_was_said_and_closing_leaves_no_thread(tmp_path: Path) -> None:
    artifact = write(slow_model(rounds=40), tmp_path / "slow.onnx")
    process, before = psutil.Process(), threading.active_count()
    embedded = Embedded(artifact, threads=2)
    with_sessions = process.num_threads()
    request = inference_pb2.PredictRequest(tensors=tensors(rows(1)))
    with pytest.raises(DeadlinePassed, match="the answer was not there in time"):
        embedded.call(f"{INFERENCE}/Predict", request.SerializeToString(), 0.02)
    embedded.close()
    assert threading.active_count() == before
    wait_until(lambda: process.num_threads() < with_sessions)
    with pytest.raises(Draining):
        embedded.call(f"{INFERENCE}/Predict", request.SerializeToString())
    embedded.close()
