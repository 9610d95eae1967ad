"""Slices on disk: found again, and never believed when they are not as they were left."""

import os
from pathlib import Path

import numpy as np
import pytest
from artifacts import assert_close, tiny_answer, tiny_model, write_artifact
from onnx import numpy_helper
from processes import serving
from strata.v1 import inference_pb2
from strata_server import slice_cache
from strata_server.artifact import Artifact, read_artifact
from strata_server.deadline import Deadline
from strata_server.runtime import Runtime, choose_device
from strata_server.sessions import Sessions
from strata_server.settings import DeviceSettings
from strata_server.slice_cache import GRAPH, WEIGHTS, SliceCache
from strata_server.version import Version
from wire import connect, tensors

IMAGE = np.ones((1, 4, 4, 1), np.float32)


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return read_artifact(write_artifact(tmp_path / "models"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def make(artifact: Artifact, folder: Path, max_bytes: int = 2**20) -> Version:
    runtime = Runtime(choose_device(DeviceSettings(device="cpu")), threads=1)
    return Version("tiny", 1, artifact, runtime, Sessions(2**30), SliceCache(folder, max_bytes))


def ask(version: Version, layer: str) -> None:
    """Compute a layer, and check it."""
    part = version.find(["image"], [layer])
    found = version.run(part, {"image": IMAGE}, [layer], Deadline())[layer]
    assert_close(found, tiny_answer(IMAGE)[layer])


def entries(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def count_openings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that grows with each session: `cut` or `cache`."""
    made: list[str] = []
    for method, name in (("open", "cut"), ("reopen", "cache")):
        whole = getattr(Runtime, method)

        def counting(self: Runtime, *given: object, whole: object = whole, name: str = name) -> object:
            made.append(name)
            return whole(self, *given)  # type: ignore[operator] # the method that it stands before

        monkeypatch.setattr(Runtime, method, counting)
    return made


def test_a_slice_that_was_made_once_is_read_from_disk(
    artifact: Artifact, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = count_openings(monkeypatch)
    ask(make(artifact, folder), "scores")
    ask(make(artifact, folder), "scores")
    assert made == ["cut", "cache"]
    assert len(entries(folder)) == 1


@pytest.mark.parametrize("damage", ["a changed byte", "a file too many", "a torn graph", "no seal", "a bad seal"])
def test_a_damaged_entry_is_ignored_and_made_anew(
    artifact: Artifact, folder: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(make(artifact, folder), "scores")
    graph = entries(folder)[0] / GRAPH
    seal = graph.parent / "seal.json"
    if damage == "a changed byte":
        data = bytearray(graph.read_bytes())
        data[len(data) // 2] ^= 1
        graph.write_bytes(data)
    elif damage == "a file too many":
        (graph.parent / "extra").write_bytes(b"")
    elif damage == "a torn graph":
        graph.write_bytes(graph.read_bytes()[:-10])
    elif damage == "no seal":
        seal.unlink()
    else:
        seal.write_text("[")
    made = count_openings(monkeypatch)
    ask(make(artifact, folder), "scores")
    ask(make(artifact, folder), "scores")
    assert made == ["cut", "cache"]


@pytest.mark.parametrize("damage", ["a changed byte", "torn", "missing"])
def test_damaged_weights_of_an_entry_are_ignored(
    tmp_path: Path, folder: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = np.random.default_rng(0).normal(size=(16, 64)).astype(np.float32)  # enough for a file of their own
    model = tiny_model()
    model.graph.initializer[2].CopyFrom(numpy_helper.from_array(weights, "weights"))
    for output in model.graph.output[2:]:
        output.type.tensor_type.shape.dim[1].dim_value = 64
    artifact = read_artifact(write_artifact(tmp_path / "models", model=model, manifest=""))

    def ask() -> None:
        version = make(artifact, folder, 2**24)
        part = version.find(["image"], ["scores"])
        found = version.run(part, {"image": IMAGE}, ["scores"], Deadline())["scores"]
        assert_close(found, 2 * IMAGE.reshape(1, -1) @ weights)

    ask()
    (kept,) = [file for file in entries(folder)[0].iterdir() if file.name == WEIGHTS]
    if damage == "a changed byte":
        data = bytearray(kept.read_bytes())
        data[len(data) // 2] ^= 1
        kept.write_bytes(data)
    elif damage == "torn":
        kept.write_bytes(kept.read_bytes()[:-10])
    else:
        kept.unlink()
    made = count_openings(monkeypatch)
    ask()
    ask()
    assert made == ["cut", "cache"]


def test_an_entry_of_another_artifact_processor_or_release_is_not_found(
    artifact: Artifact, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(make(artifact, folder), "scores")
    made = count_openings(monkeypatch)
    other = write_artifact(tmp_path / "models", version=2)
    other.write_bytes(other.read_bytes() + b"\x1a\x01x")  # a later producer name
    ask(make(read_artifact(other), folder), "scores")
    with monkeypatch.context() as patch:
        patch.setattr(slice_cache, "_machine", lambda: ["another processor"])
        ask(make(artifact, folder), "scores")
    assert made == ["cut", "cut"]


def test_the_entries_that_were_not_used_longest_make_room(artifact: Artifact, folder: Path) -> None:
    ask(make(artifact, folder), "double")
    (first,) = entries(folder)
    size = sum(file.stat().st_size for file in first.iterdir())
    os.utime(first, (1, 1))
    ask(make(artifact, folder, int(size * 1.5)), "flat")
    assert len(entries(folder)) == 1
    assert not first.exists()


def test_a_folder_that_others_can_write_to_is_refused(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(PermissionError, match="only this user"):
        SliceCache(folder, 2**20)


def test_a_cache_that_cannot_be_written_to_does_not_keep_a_server_from_answering(
    artifact: Artifact, folder: Path
) -> None:
    version = make(artifact, folder)
    folder.rmdir()
    folder.write_text("no folder any more")
    ask(version, "scores")


def test_a_server_fills_its_cache_and_warms_what_it_is_told(tmp_path: Path) -> None:
    models, folder = tmp_path / "models", tmp_path / "cache"
    write_artifact(models)
    flags = ("--slice-cache", str(folder), "--warm", "tiny", "double,scores", "--warm", "tiny:1", "flat")
    for _ in range(2):
        with serving(models, *flags) as server:
            assert len(entries(folder)) == 3  # and the prediction's
            stubs = connect(server.grpc)
            request = inference_pb2.GetActivationsRequest(tensors=tensors(IMAGE), layers=["scores", "double"])
            found = stubs.activations(request).activations[0]
            stubs.channel.close()
        assert_close(np.frombuffer(found.data, np.float32).reshape(1, 3), tiny_answer(IMAGE)["scores"])
    assert len(entries(folder)) == 3
