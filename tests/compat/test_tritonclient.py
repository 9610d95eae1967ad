"""tritonclient against the server, and beside this project's own client."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import strata_client
import tritonclient.grpc as triton
from conftest import Digits
from PIL import Image
from processes import ServerProcess

Floats = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> Iterator[Any]:
    with triton.InferenceServerClient(server.grpc) as client:
        yield client


@pytest.fixture(scope="module")
def image(digits: Digits) -> Floats:
    pixels = np.asarray(Image.open(digits.sample(7)), np.float32)
    return (pixels / np.float32(255)).reshape(1, 28, 28, 1)


def ask(client: Any, image: Floats, *outputs: str, model: str = "digits", version: str = "") -> Any:
    tensor = triton.InferInput("image", image.shape, "FP32")
    tensor.set_data_from_numpy(image)
    wanted = [triton.InferRequestedOutput(name) for name in outputs]
    return client.infer(model, [tensor], model_version=version, outputs=wanted or None, request_id="7")


def test_layers_asked_as_outputs_equal_keras(client: Any, image: Floats, digits: Digits) -> None:
    import keras  # noqa: PLC0415 - seconds, that the other tests here need not wait

    model = keras.saving.load_model(digits.run / "model.keras")
    wanted = {name: model.get_layer(name).output for name in ("predictions", "conv1")}
    expected = keras.Model(model.inputs, wanted)([image])
    answer = ask(client, image, "predictions", "conv1")
    for name in wanted:
        np.testing.assert_allclose(answer.as_numpy(name), expected[name], rtol=0, atol=1e-5)


def test_no_outputs_asked_means_the_prediction(client: Any, image: Floats) -> None:
    answer = ask(client, image)
    assert [output.name for output in answer.get_response().outputs] == ["predictions"]
    assert answer.as_numpy("predictions").argmax() == 7
    assert answer.get_response().id == "7"


def test_both_clients_get_the_same_from_one_process(client: Any, image: Floats, server: ServerProcess) -> None:
    with strata_client.Client(server.grpc) as own:
        ours = own.activations(image, layers=["dense1"])["dense1"]
    np.testing.assert_array_equal(ask(client, image, "dense1").as_numpy("dense1"), ours)


def test_the_server_and_its_model_are_live_and_ready(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("digits")
    assert client.is_model_ready("digits", "1")
    assert not client.is_model_ready("digits", "2")


def test_metadata_is_what_tritonclient_expects(client: Any) -> None:
    assert client.get_server_metadata(as_json=True)["name"] == "strata"
    metadata = client.get_model_metadata("digits", as_json=True)
    assert metadata["inputs"] == [{"name": "image", "datatype": "FP32", "shape": ["-1", "28", "28", "1"]}]
    assert metadata["outputs"] == [{"name": "predictions", "datatype": "FP32", "shape": ["-1", "10"]}]


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        ({"model": "digit"}, "StatusCode.NOT_FOUND", "nearest: 'digits'"),
        ({"version": "9"}, "StatusCode.NOT_FOUND", "served: 1"),
        ({"outputs": ["conv3"]}, "StatusCode.NOT_FOUND", "nearest: 'conv2', 'conv1'"),
        ({"image": np.zeros((1, 28, 28), np.float32)}, "StatusCode.INVALID_ARGUMENT", "received (1, 28, 28)"),
    ],
)
def test_tritonclient_is_told_what_is_wrong(
    client: Any, image: Floats, changes: dict[str, Any], status: str, reason: str
) -> None:
    arguments = {"image": image, "outputs": [], **changes}
    with pytest.raises(triton.InferenceServerException) as caught:
        ask(client, arguments.pop("image"), *arguments.pop("outputs"), **arguments)
    assert caught.value.status() == status
    assert reason in caught.value.message()


@pytest.mark.parametrize(
    "modules",
    [
        ["strata_client", "tritonclient.grpc", "strata_server.rpc.open_inference.open_inference_pb2"],
        ["strata_server.rpc.open_inference.open_inference_pb2", "tritonclient.grpc", "strata_client"],
    ],
)
def test_one_program_may_import_all_in_any_order(modules: list[str]) -> None:
    program = "; ".join(f"import {module}" for module in modules) + "; import strata_client; strata_client.Client()"
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)
