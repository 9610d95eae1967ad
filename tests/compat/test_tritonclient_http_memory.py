"""Tensors in shared memory, and classes, over HTTP as tritonclient asks for them."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.utils.shared_memory as memory
from artifacts import CLASSES, SIDE, assert_close, tiny_answer, write_artifact
from processes import serving


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Any]:
    write_artifact(tmp_path)
    with (
        serving(tmp_path, "--allow-shared-memory") as server,
        triton.InferenceServerClient(server.http.removeprefix("http://")) as client,
    ):
        yield client


def test_inputs_are_read_and_outputs_written_in_place(client: Any) -> None:
    image = np.random.default_rng(4).random((2, SIDE, SIDE, 1), np.float32)
    key = f"/strata-http-{os.getpid()}"
    region = memory.create_shared_memory_region("region", key, 2 * image.nbytes)
    try:
        memory.set_shared_memory_region(region, [image])
        client.register_system_shared_memory("region", key, 2 * image.nbytes)
        status = [{"name": "region", "key": key, "offset": 0, "byte_size": 2 * image.nbytes}]
        assert client.get_system_shared_memory_status() == status
        given = triton.InferInput("image", list(image.shape), "FP32").set_shared_memory("region", image.nbytes)
        double = triton.InferRequestedOutput("double")
        double.set_shared_memory("region", image.nbytes, image.nbytes)
        answer = client.infer("tiny", [given], outputs=[double, triton.InferRequestedOutput("scores")])
        written = memory.get_contents_as_numpy(region, np.float32, [2, *image.shape])[1]
        np.testing.assert_array_equal(written, 2 * image)
        assert_close(answer.as_numpy("scores"), tiny_answer(image)["scores"])
        assert "data" not in answer.get_output("double")
        client.unregister_system_shared_memory("region")
        assert client.get_system_shared_memory_status() == []
    finally:
        memory.destroy_shared_memory_region(region)


@pytest.mark.parametrize("binary", [False, True])
def test_classes_come_with_value_index_and_label(client: Any, *, binary: bool) -> None:
    image = np.random.default_rng(5).random((1, SIDE, SIDE, 1), np.float32)
    given = triton.InferInput("image", list(image.shape), "FP32").set_data_from_numpy(image)
    wanted = triton.InferRequestedOutput("predictions", binary_data=binary, class_count=2)
    answer = client.infer("tiny", [given], outputs=[wanted]).as_numpy("predictions")
    best = int(tiny_answer(image)["predictions"].argmax())
    first = answer[0, 0].decode() if binary else answer[0, 0]
    _, index, label = first.split(":")
    assert (int(index), label) == (best, CLASSES[best])
