"""KServe's own clients against the server, from an environment of their own."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from artifacts import SIDE, assert_close, tiny_answer
from environments import install
from processes import ServerProcess

CALLER = Path(__file__).with_name("kserve_caller.py")


@pytest.fixture(scope="module")
def image() -> Any:
    return np.random.default_rng(3).random((2, SIDE, SIDE, 1), np.float32)


@pytest.fixture(scope="module")
def found(tiny: ServerProcess, image: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what KServe's clients were answered."""
    folder = tmp_path_factory.mktemp("kserve")
    # It needs another numpy and another protobuf than this project has: its versions are its own.
    commands, _ = install(folder / "environment", "kserve==0.15.0", versions=(), python=">=3.11,<3.13")
    np.save(folder / "image.npy", image)
    command = [commands / "python", CALLER, tiny.grpc, tiny.http, folder / "image.npy"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


ANSWERS = ["grpc", *(f"rest {binary} {binary_out}" for binary in (False, True) for binary_out in (False, True))]


@pytest.mark.parametrize("way", ANSWERS)
def test_layers_equal_those_of_numpy(found: dict[str, Any], image: Any, way: str) -> None:
    answer = found[way]
    assert_close(np.array(answer["scores"]), tiny_answer(image)["scores"])
    np.testing.assert_array_equal(np.array(answer["double"], np.float32), 2 * image)
    assert (answer["id"], answer["model"]) == ("7", "tiny")


def test_every_way_has_the_same_answer(found: dict[str, Any]) -> None:
    assert all(found[way] == found["grpc"] for way in ANSWERS)


def test_health_is_told(found: dict[str, Any]) -> None:
    for question in ("rest live", "rest ready", "rest model ready", "grpc live", "grpc ready", "grpc model ready"):
        assert found[question] is True
    assert found["rest other ready"] is False


def test_an_unknown_model_is_told(found: dict[str, Any]) -> None:
    for way in ("rest error", "grpc error"):
        assert "unknown model 'other'" in found[way]
    assert "404" in found["rest error"]
