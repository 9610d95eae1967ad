"""Where networks run. What needs CUDA runs where there is one, and says so where there is not."""

import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from artifacts import assert_close, tiny_answer, write_artifact
from processes import BIN, serving
from strata.v1 import inference_pb2
from strata_server.errors import StartError
from strata_server.runtime import CUDA, choose_device
from strata_server.settings import DeviceSettings
from wire import connect, tensors

HAS_CUDA = choose_device(DeviceSettings(device="auto")).name == "cuda"


def test_the_cpu_is_taken_where_it_is_asked_for() -> None:
    device = choose_device(DeviceSettings(device="cpu"))
    assert (device.name, [name for name, _ in device.providers]) == ("cpu", ["CPUExecutionProvider"])


@pytest.mark.skipif(HAS_CUDA, reason="CUDA is here")
def test_cuda_that_is_not_there_stops_the_start_with_how_to_get_it(tmp_path: Path) -> None:
    write_artifact(tmp_path)
    command = [
        str(BIN / "strata-server"),
        "--models",
        str(tmp_path),
        "--grpc-port",
        "0",
        "--http-port",
        "0",
        "--device",
        "cuda",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("strata-server: --device cuda: ")
    assert "pip install 'strata-server[cuda]'" in done.stderr


@pytest.mark.skipif(HAS_CUDA, reason="CUDA is here")
def test_cuda_that_cannot_be_loaded_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)
    with pytest.raises(StartError, match="--device cuda: onnxruntime"):
        choose_device(DeviceSettings(device="cuda"))


@pytest.mark.skipif(HAS_CUDA, reason="CUDA is here")
def test_auto_takes_the_cpu_where_there_is_no_cuda(tmp_path: Path) -> None:
    write_artifact(tmp_path)
    with serving(tmp_path, "--device", "auto") as server:
        assert ", device cpu, " in server.ready_line


@pytest.mark.skipif(not HAS_CUDA, reason="no CUDA device, or no onnxruntime-gpu")
def test_cuda_computes_what_the_cpu_does(tmp_path: Path) -> None:
    write_artifact(tmp_path)
    image = np.random.default_rng(0).random((3, 4, 4, 1), np.float32)
    with serving(tmp_path, "--device", "cuda", "--cuda-memory", "1GiB") as server:
        assert ", device cuda, " in server.ready_line
        stubs = connect(server.grpc)
        request = inference_pb2.GetActivationsRequest(tensors=tensors(image), layers=["scores"])
        found = stubs.activations(request).activations[0]
        stubs.channel.close()
    assert_close(np.frombuffer(found.data, np.float32).reshape(3, 3), tiny_answer(image)["scores"])
