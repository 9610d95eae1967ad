"""tritonclient.http, sync and asyncio: every method they have, against a real server and beside gRPC."""

import asyncio
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tritonclient.grpc
import tritonclient.http as triton
import tritonclient.http.aio
from artifacts import SIDE, assert_close, tiny_answer, write_artifact
from google.protobuf import json_format
from processes import ServerProcess, serving
from tritonclient.utils import InferenceServerException

Floats = npt.NDArray[np.float32]
Ask = Callable[..., Any]
COVERED: set[str] = set()
UNSERVED = "501"
_DONE = {"register_plugin", "unregister_plugin", "plugin"}


class Caller:
    """One of the two clients, asked the same way; it remembers which methods were."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def __getattr__(self, name: str) -> Ask:
        COVERED.add(name)
        return lambda *args, **named: self._ask(name, *args, **named)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = tmp_path_factory.mktemp("triton") / "models"
    write_artifact(models, version=1)
    write_artifact(models, version=12)
    return models


@pytest.fixture(scope="module")
def served(repository: Path) -> Iterator[ServerProcess]:
    with serving(repository) as server:
        yield server


@pytest.fixture(scope="module", params=["sync", "aio"])
def client(request: pytest.FixtureRequest, served: ServerProcess) -> Iterator[Caller]:
    address = served.http.removeprefix("http://")
    if request.param == "sync":
        with triton.InferenceServerClient(address, concurrency=4) as sync:
            yield Caller(lambda name, *args, **named: getattr(sync, name)(*args, **named))
        return
    with asyncio.Runner() as runner:

        async def make() -> Any:
            return tritonclient.http.aio.InferenceServerClient(address)

        aio = runner.run(make())

        def ask(name: str, *args: Any, **named: Any) -> Any:
            asked = getattr(aio, name)(*args, **named)
            return runner.run(asked) if inspect.iscoroutine(asked) else asked

        yield Caller(ask)
        runner.run(aio.close())


@pytest.fixture(scope="module")
def by_grpc(served: ServerProcess) -> Iterator[Any]:
    with tritonclient.grpc.InferenceServerClient(served.grpc) as client:
        yield client


@pytest.fixture
def image() -> Floats:
    return np.random.default_rng(1).random((3, SIDE, SIDE, 1), np.float32)


def give(image: Floats, *, binary: bool = True) -> Any:
    tensor = triton.InferInput("image", list(image.shape), "FP32")
    return tensor.set_data_from_numpy(image, binary_data=binary)


def want(*names: str, binary: bool = True) -> list[Any]:
    return [triton.InferRequestedOutput(name, binary_data=binary) for name in names]


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_layers_equal_those_of_grpc_and_numpy(
    client: Caller, by_grpc: Any, image: Floats, *, binary_in: bool, binary_out: bool
) -> None:
    outputs = want("scores", "double", binary=binary_out)
    answer = client.infer("tiny", [give(image, binary=binary_in)], outputs=outputs, request_id="7")
    tensor = tritonclient.grpc.InferInput("image", list(image.shape), "FP32").set_data_from_numpy(image)
    wanted = [tritonclient.grpc.InferRequestedOutput(name) for name in ("scores", "double")]
    other = by_grpc.infer("tiny", [tensor], outputs=wanted)
    for name in ("scores", "double"):
        np.testing.assert_array_equal(answer.as_numpy(name), other.as_numpy(name))
        assert_close(answer.as_numpy(name), tiny_answer(image)[name])
    assert answer.get_response()["id"] == "7"
    assert answer.get_output("scores")["shape"] == [3, 3]
    assert answer.as_numpy("flat") is None


def test_no_outputs_asked_means_the_prediction_in_binary(client: Caller, image: Floats) -> None:
    answer = client.infer("tiny", [give(image)], model_version="1")
    assert [output["name"] for output in answer.get_response()["outputs"]] == ["predictions"]
    assert "binary_data_size" in answer.get_output("predictions")["parameters"]
    assert_close(answer.as_numpy("predictions"), tiny_answer(image)["predictions"])


@pytest.mark.parametrize("sent", [None, "gzip", "deflate"])
@pytest.mark.parametrize("received", [None, "gzip", "deflate"])
def test_requests_and_answers_may_be_compressed(
    client: Caller, image: Floats, sent: str | None, received: str | None
) -> None:
    image = np.repeat(image, 50, axis=0)
    answer = client.infer(
        "tiny",
        [give(image)],
        outputs=want("flat"),
        request_compression_algorithm=sent,
        response_compression_algorithm=received,
    )
    np.testing.assert_array_equal(answer.as_numpy("flat"), tiny_answer(image)["flat"])


def test_priority_timeout_and_headers_go_along(client: Caller, image: Floats) -> None:
    answer = client.infer(
        "tiny",
        [give(image)],
        priority=1,
        timeout=20_000_000,
        headers={"x-request": "1"},
        query_params={"a": ["b", "c"]},
        parameters={"content_type": "np"},
    )
    assert_close(answer.as_numpy("predictions"), tiny_answer(image)["predictions"])


def test_bodies_may_be_made_and_read_apart(client: Caller, served: ServerProcess, image: Floats) -> None:
    import httpx  # noqa: PLC0415 - only here a body goes another way than the client's

    body, length = client.generate_request_body([give(image)], outputs=want("scores"))
    headers = {"Inference-Header-Content-Length": str(length)}
    answer = httpx.post(f"{served.http}/v2/models/tiny/infer", content=body, headers=headers)
    read = client.parse_response_body(
        answer.content, header_length=int(answer.headers["inference-header-content-length"])
    )
    assert_close(read.as_numpy("scores"), tiny_answer(image)["scores"])


def test_requests_may_be_under_way_at_the_same_time(served: ServerProcess, image: Floats) -> None:
    COVERED.add("async_infer")
    with triton.InferenceServerClient(served.http.removeprefix("http://"), concurrency=4) as client:
        asked = [client.async_infer("tiny", [give(image * n)], outputs=want("double")) for n in range(8)]
        for n, each in enumerate(asked):
            np.testing.assert_array_equal(each.get_result().as_numpy("double"), 2 * (image * n))


def test_health_is_told(client: Caller) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tiny")
    assert client.is_model_ready("tiny", "12")
    assert not client.is_model_ready("tiny", "2")
    assert not client.is_model_ready("other")


def test_metadata_is_what_grpc_says(client: Caller, by_grpc: Any) -> None:
    assert client.get_server_metadata() == by_grpc.get_server_metadata(as_json=True) | {
        "extensions": client.get_server_metadata()["extensions"]
    }
    over_http, over_grpc = client.get_model_metadata("tiny", "1"), by_grpc.get_model_metadata("tiny", "1", as_json=True)
    assert plain(over_http) == plain(over_grpc)


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        ({"model": "tinny"}, "404", "nearest: 'tiny'"),
        ({"version": "9"}, "404", "served: 1, 12"),
        ({"outputs": ["score"]}, "404", "nearest: 'scores'"),
        ({"image": np.zeros((1, SIDE, SIDE), np.float32)}, "400", "received (1, 4, 4)"),
    ],
)
def test_tritonclient_is_told_what_is_wrong(
    client: Caller, image: Floats, changes: dict[str, Any], status: str, reason: str
) -> None:
    given = {"model": "tiny", "version": "", "outputs": ["scores"], "image": image, **changes}
    with pytest.raises(InferenceServerException) as caught:
        client.infer(
            given["model"], [give(given["image"])], model_version=given["version"], outputs=want(*given["outputs"])
        )
    assert caught.value.status() == status
    assert reason in caught.value.message()


# What follows is answered by handlers of the protocol's extensions: the same as over gRPC, or the same refusal.


def same(over_http: Callable[[], Any], over_grpc: Callable[[], Any]) -> None:
    """Assert that both protocols answer the same, or refuse with the same words."""
    left, right = outcome(over_http), outcome(over_grpc)
    assert left == right


def outcome(ask: Callable[[], Any]) -> Any:
    try:
        return plain(ask())
    except InferenceServerException as error:
        return error.message()


def plain(value: Any) -> Any:
    """Return JSON of either protocol in one form: numbers as text, and nothing that is empty."""
    if isinstance(value, dict):
        items = {key: plain(each) for key, each in value.items()}
        return {key: each for key, each in items.items() if each not in ({}, [], "", "0", "False", "0.0")}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return re.sub(r"^true$", "True", str(value))


def test_the_configuration_is_what_grpc_says(client: Caller, by_grpc: Any) -> None:
    def over_http() -> Any:
        config = tritonclient.grpc.model_config_pb2.ModelConfig()
        return str(json_format.ParseDict(client.get_model_config("tiny", "1"), config))

    same(over_http, lambda: str(by_grpc.get_model_config("tiny", "1").config))


def test_statistics_are_what_grpc_says(client: Caller, by_grpc: Any) -> None:
    for named in ((), ("tiny",), ("tiny", "1")):
        same(
            lambda named=named: client.get_inference_statistics(*named),  # type: ignore[misc]
            lambda named=named: by_grpc.get_inference_statistics(*named, as_json=True),  # type: ignore[misc]
        )


def test_the_index_is_what_grpc_says(client: Caller, by_grpc: Any) -> None:
    same(
        client.get_model_repository_index,
        lambda: by_grpc.get_model_repository_index(as_json=True).get("models", []),
    )


def test_a_model_is_loaded_and_unloaded_as_over_grpc(client: Caller, by_grpc: Any) -> None:
    """This repository is fixed: both are refused."""
    same(lambda: client.load_model("tiny"), lambda: by_grpc.load_model("tiny"))
    same(lambda: client.unload_model("tiny"), lambda: by_grpc.unload_model("tiny"))
    same(
        lambda: client.load_model("tiny", config="{}"),
        lambda: by_grpc.load_model("tiny", config="{}"),
    )
    # tritonclient writes the bytes of files with rapidjson, which takes them as text.
    same(
        lambda: client.load_model("tiny", config="{}", files={"file:1/model.onnx": b"123"}),
        lambda: by_grpc.load_model("tiny", config="{}", files={"file:1/model.onnx": b"123"}),
    )
    assert client.is_model_ready("tiny")


def test_trace_settings_are_those_of_grpc(client: Caller, by_grpc: Any) -> None:
    def over_grpc(**named: Any) -> Any:
        settings = by_grpc.get_trace_settings(as_json=True, **named).get("settings", {})
        return {name: one(name, setting.get("value", [])) for name, setting in settings.items()}

    same(client.get_trace_settings, over_grpc)
    same(lambda: client.get_trace_settings("tiny"), lambda: over_grpc(model_name="tiny"))
    for change in ({"trace_level": ["TIMESTAMPS"]}, {"trace_rate": "7"}, {"trace_level": None, "trace_rate": None}):
        left = outcome(lambda change=change: client.update_trace_settings(settings=change))  # type: ignore[misc]
        right = outcome(lambda change=change: by_grpc.update_trace_settings(settings=change, as_json=True))  # type: ignore[misc]
        assert isinstance(left, str) is isinstance(right, str)
        same(client.get_trace_settings, over_grpc)


def one(name: str, values: list[str]) -> Any:
    return values if name == "trace_level" or len(values) != 1 else values[0]


def test_log_settings_are_those_of_grpc(client: Caller, by_grpc: Any) -> None:
    def over_grpc() -> Any:
        settings = by_grpc.get_log_settings(as_json=True).get("settings", {})
        return {name: next(iter(setting.values()), "") for name, setting in settings.items()}

    same(client.get_log_settings, over_grpc)
    for change in ({"log_verbose_level": 1}, {"log_info": False}, {"log_info": True, "log_verbose_level": 0}):
        left = outcome(lambda change=change: client.update_log_settings(change))  # type: ignore[misc]
        right = outcome(lambda change=change: by_grpc.update_log_settings(change, as_json=True))  # type: ignore[misc]
        assert isinstance(left, str) is isinstance(right, str)
        same(client.get_log_settings, over_grpc)
    same(
        lambda: client.update_log_settings({"log_file": "/tmp/strata.log"}),  # noqa: S108 - it must be refused
        lambda: by_grpc.update_log_settings({"log_file": "/tmp/strata.log"}),  # noqa: S108 - the same
    )


def test_system_shared_memory_is_that_of_grpc(client: Caller, by_grpc: Any) -> None:
    def over_grpc(*name: str) -> Any:
        return list(by_grpc.get_system_shared_memory_status(*name, as_json=True).get("regions", {}).values())

    same(client.get_system_shared_memory_status, over_grpc)
    same(lambda: client.get_system_shared_memory_status("region"), lambda: over_grpc("region"))
    same(
        lambda: client.register_system_shared_memory("region", "/strata-none", 64),
        lambda: by_grpc.register_system_shared_memory("region", "/strata-none", 64),
    )
    same(
        lambda: client.unregister_system_shared_memory("region"),
        lambda: by_grpc.unregister_system_shared_memory("region"),
    )
    same(client.unregister_system_shared_memory, by_grpc.unregister_system_shared_memory)


def test_cuda_shared_memory_is_that_of_grpc(client: Caller, by_grpc: Any) -> None:
    def over_grpc() -> Any:
        return list(by_grpc.get_cuda_shared_memory_status(as_json=True).get("regions", {}).values())

    same(client.get_cuda_shared_memory_status, over_grpc)
    same(
        lambda: client.unregister_cuda_shared_memory("region"), lambda: by_grpc.unregister_cuda_shared_memory("region")
    )
    same(client.unregister_cuda_shared_memory, by_grpc.unregister_cuda_shared_memory)
    with pytest.raises(InferenceServerException) as caught:
        client.register_cuda_shared_memory("region", "aGFuZGxl", 0, 64)
    assert caught.value.status() == UNSERVED


def test_a_shared_memory_region_that_there_is_not_is_refused(client: Caller, image: Floats) -> None:
    tensor = triton.InferInput("image", list(image.shape), "FP32").set_shared_memory("region", image.nbytes)
    with pytest.raises(InferenceServerException) as caught:
        client.infer("tiny", [tensor])
    assert caught.value.status() in {"400", "404", UNSERVED}


def test_classification_and_sequences_are_answered_as_over_grpc(client: Caller, by_grpc: Any, image: Floats) -> None:
    def over_grpc(**named: Any) -> Any:
        tensor = tritonclient.grpc.InferInput("image", list(image.shape), "FP32").set_data_from_numpy(image)
        count = named.pop("class_count", 0)
        wanted = [tritonclient.grpc.InferRequestedOutput("predictions", class_count=count)]
        return by_grpc.infer("tiny", [tensor], outputs=wanted, **named).as_numpy("predictions").tolist()

    def over_http(**named: Any) -> Any:
        wanted = [triton.InferRequestedOutput("predictions", class_count=named.pop("class_count", 0))]
        return client.infer("tiny", [give(image)], outputs=wanted, **named).as_numpy("predictions").tolist()

    same(lambda: over_http(class_count=2), lambda: over_grpc(class_count=2))
    named = {"sequence_id": 7, "sequence_start": True}
    same(lambda: over_http(**named), lambda: over_grpc(**named))


def test_a_plugin_adds_headers(served: ServerProcess) -> None:
    class Plugin(triton.InferenceServerClientPlugin):  # type: ignore[misc]
        def __call__(self, request: Any) -> None:
            request.headers["host"] = "evil.example"

    with triton.InferenceServerClient(served.http.removeprefix("http://")) as client:
        client.register_plugin(Plugin())
        assert client.plugin() is not None
        assert not client.is_server_live()
        client.unregister_plugin()
        assert client.is_server_live()


def test_every_method_of_both_clients_was_asked() -> None:
    """Runs last: pytest keeps the order of a file."""
    methods = {
        name
        for kind in (triton.InferenceServerClient, tritonclient.http.aio.InferenceServerClient)
        for name, _ in inspect.getmembers(kind, inspect.isroutine)
        if not name.startswith("_")
    }
    assert methods - COVERED - _DONE - {"close"} == set()
