"""Each distribution installs alone, in an environment of its own, and brings only what it needs."""

import subprocess
from pathlib import Path

import pytest
from environments import WORKSPACE, install

HEAVY = {"tensorflow", "keras", "tf2onnx", "scikit-learn", "matplotlib", "pandas"}


def run(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def test_the_server_alone_brings_no_tensorflow_and_starts(tmp_path: Path) -> None:
    commands, found = install(tmp_path / "server", "./proto", "./server")
    assert {"strata-proto", "strata-server", "onnxruntime", "grpcio"} <= found
    assert not found & (HEAVY | {"strata-training", "strata-client"})
    assert "--models" in run(commands / "strata-server", "--help")


def test_the_client_alone_brings_neither_tensorflow_nor_onnxruntime(tmp_path: Path) -> None:
    commands, found = install(tmp_path / "client", "./proto", "./client")
    assert found == {"strata-proto", "strata-client", "grpcio", "numpy", "protobuf", "typing-extensions"}
    run(commands / "python", "-c", "import strata_client; strata_client.Client().close()")


def test_the_client_with_its_extras_has_its_command(tmp_path: Path) -> None:
    commands, found = install(tmp_path / "client", "./proto", "./client[all]")
    assert not found & {"tensorflow", "keras", "onnx", "onnxruntime", "strata-server"}
    assert "activations" in run(commands / "strata", "--help")


@pytest.mark.parametrize("part", ["server", "client", "training"])
def test_the_hashed_requirements_hold_every_dependency_with_a_hash(part: str) -> None:
    text = (WORKSPACE / "requirements" / f"{part}.txt").read_text()
    entries = [entry for entry in text.split("\n") if entry and not entry.startswith((" ", "#"))]
    assert entries
    assert all("==" in entry and entry.endswith("\\") for entry in entries)
    assert ("tensorflow==" in text) is (part == "training")
    assert ("onnxruntime==" in text) is (part != "client")
    assert "://" not in text
