"""A client without a server, beside one with a server of the same artifact."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from artifacts import SIDE, assert_close, tiny_answer, write_artifact
from strata_client import (
    Cancelled,
    Client,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    PermissionDenied,
    RepositoryVersion,
    StrataError,
    open_artifact,
)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_artifact(tmp_path_factory.mktemp("embedded"), "tiny", version=12)


@pytest.fixture(scope="module")
def embedded(artifact: Path) -> Iterator[Client]:
    with open_artifact(artifact, threads=1) as client:
        yield client


def rows(count: int, seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).random((count, SIDE, SIDE, 1), np.float32)


def test_predictions_are_the_servers_bit_for_bit(embedded: Client, client: Client, picture: Path) -> None:
    for inputs in (rows(3), picture, [picture] * 20, {"flat": rows(2).reshape(2, -1)}):
        here, there = embedded.predict(inputs), client.predict(inputs)
        assert (here.model, here.version, here.rows) == (there.model, there.version, there.rows)
        np.testing.assert_array_equal(here.outputs["predictions"], there.outputs["predictions"])


def test_activations_are_the_servers_bit_for_bit(embedded: Client, client: Client) -> None:
    asked: dict[str, Any] = {"layers": ["scores", "double"], "reduce": {"double": "statistics+half", "scores": "top:2"}}
    here, there = (each.activations(rows(40), **asked) for each in (embedded, client))
    for name in asked["layers"]:
        np.testing.assert_array_equal(here[name], there[name])
    np.testing.assert_array_equal(here.channels["scores"], there.channels["scores"])


def test_it_says_of_itself_what_the_server_says(embedded: Client, client: Client, artifact: Path) -> None:
    assert embedded.describe() == client.describe("tiny:12")
    assert embedded.models() == client.models()[1:]
    assert embedded.diff("tiny", "tiny:12", rows(2)).agree
    assert embedded.health().servers == {str(artifact): "serving"}
    assert embedded.versions() == [RepositoryVersion("tiny", "12", "ready", "")]
    with pytest.raises(PermissionDenied, match="to unload 'tiny' is not allowed"):
        embedded.unload("tiny")


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.activations(rows(1), ["doubel"]),
        lambda client: client.predict(np.ones((1, 3), np.float32)),
        lambda client: client.predict(rows(1), model="tyni"),
        lambda client: client.predict(rows(1), model="tiny:2"),
        lambda client: client.predict([b"no picture"] * 3),
        lambda client: client.predict(rows(1) * np.nan),
    ],
    ids=["layer", "shape", "model", "version", "picture", "no number"],
)
def test_an_error_is_the_servers_in_class_and_text(
    embedded: Client, client: Client, ask: Callable[[Client], object]
) -> None:
    told = []
    for each in (embedded, client):
        with pytest.raises(StrataError) as caught:
            ask(each)
        told.append((type(caught.value), str(caught.value).replace("served: 1, 12", "served: 12")))
    assert told[0] == told[1]


def test_threads_share_a_client(embedded: Client) -> None:
    images = [rows(1 + seed % 3, seed) for seed in range(100)]
    with ThreadPoolExecutor(4) as threads:
        answers = threads.map(lambda image: embedded.activations(image, ["scores"])["scores"], images)
    for image, answer in zip(images, answers, strict=True):
        assert_close(answer, tiny_answer(image)["scores"])


def test_a_call_takes_no_longer_than_was_said(embedded: Client, artifact: Path) -> None:
    with pytest.raises(DeadlineExceeded, match=f"no answer from {artifact} within 1e-06 s"):
        embedded.predict(rows(1), timeout_s=1e-6)


def test_closing_ends_the_threads_and_later_calls_are_cancelled(artifact: Path) -> None:
    before = threading.active_count()
    client = open_artifact(str(artifact), model="other", threads=1)
    assert client.predict(rows(20)).model == "other"
    assert threading.active_count() > before
    client.close()
    client.close()
    assert threading.active_count() == before
    with pytest.raises(Cancelled, match="the client is closed"):
        client.predict(rows(1))


def test_what_is_no_artifact_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with pytest.raises(FailedPrecondition, match=r"model.onnx: it is no regular file"):
        open_artifact(path)
    path.write_bytes(b"no model")
    with pytest.raises(FailedPrecondition, match=r"model.onnx: it is not an ONNX model"):
        open_artifact(path)
    with pytest.raises(InvalidArgument, match="threads: expected 1 or more, received 0"):
        open_artifact(path, threads=0)


def test_without_the_server_installed_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['strata_server'] = None; import strata_client; strata_client.open_artifact('x')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert done.stderr.endswith("MissingExtra: strata-server is not installed: pip install strata-server\n")
