"""Every method of tritonclient's gRPC clients, the plain one and the one for asyncio, against a real server."""

import asyncio
import inspect
import os
import queue
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
import tritonclient.utils.shared_memory as triton_memory
from artifacts import CLASSES, SIDE, assert_close, tiny_answer, write_artifact
from processes import ServerProcess, serving
from tritonclient.grpc import InferenceServerException

Floats = npt.NDArray[np.float32]
IMAGE = np.random.default_rng(5).random((2, SIDE, SIDE, 1), np.float32)
SCORES = tiny_answer(IMAGE)["predictions"]
CLIENTS = {"plain": triton.InferenceServerClient, "asyncio": triton_aio.InferenceServerClient}

Case = Callable[["Asker"], Awaitable[None]]
CASES: dict[str, Case] = {}


@dataclass(frozen=True)
class Asker:
    """Calls the methods of either client alike."""

    client: Any

    async def ask(self, method: str, *arguments: Any, **keywords: Any) -> Any:
        answer = getattr(self.client, method)(*arguments, **keywords)
        return await answer if inspect.isawaitable(answer) else answer

    async def refusal(self, method: str, *arguments: Any, **keywords: Any) -> tuple[str, str]:
        with pytest.raises(InferenceServerException) as caught:
            await self.ask(method, *arguments, **keywords)
        return str(caught.value.status()).removeprefix("StatusCode."), caught.value.message()


def covers(*methods: str) -> Callable[[Case], Case]:
    """Take a case as that of some methods."""

    def take(case: Case) -> Case:
        CASES.update(dict.fromkeys(methods, case))
        return case

    return take


def methods_of(client: type) -> list[str]:
    return [name for name, each in inspect.getmembers(client, callable) if not name.startswith("_")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    models = tmp_path_factory.mktemp("methods")
    write_artifact(models, "tiny")
    write_artifact(models, "other", 2)
    with serving(models, "--repository", "explicit", "--allow-shared-memory") as server:
        yield server


@asynccontextmanager
async def connected(kind: str, address: str) -> AsyncIterator[Asker]:
    client = CLIENTS[kind](address)
    asker = Asker(client)
    try:
        yield asker
    finally:
        await asker.ask("close")


def write_input(image: Floats = IMAGE) -> Any:
    tensor = triton.InferInput("image", image.shape, "FP32")
    tensor.set_data_from_numpy(image)
    return tensor


@pytest.mark.parametrize("kind", CLIENTS)
def test_no_method_is_without_a_case(kind: str) -> None:
    assert set(methods_of(CLIENTS[kind])) - set(CASES) == set()


@pytest.mark.parametrize(
    ("kind", "method"), [(kind, method) for kind, client in CLIENTS.items() for method in methods_of(client)]
)
def test_a_method_gets_what_it_asks_for_or_the_documented_error(server: ServerProcess, kind: str, method: str) -> None:
    async def run() -> None:
        async with connected(kind, server.grpc) as asker:
            await CASES[method](asker)

    asyncio.run(run())


@covers("is_server_live", "is_server_ready")
async def whether_it_serves(asker: Asker) -> None:
    assert await asker.ask("is_server_live")
    assert await asker.ask("is_server_ready")


@covers("is_model_ready")
async def whether_a_model_is_served(asker: Asker) -> None:
    assert await asker.ask("is_model_ready", "tiny")
    assert await asker.ask("is_model_ready", "other", "2")
    assert not await asker.ask("is_model_ready", "other", "1")


@covers("get_server_metadata")
async def what_it_serves(asker: Asker) -> None:
    metadata = await asker.ask("get_server_metadata", as_json=True)
    assert metadata["name"] == "strata"
    assert {"layers", "classification", "system_shared_memory"} <= set(metadata["extensions"])


@covers("get_model_metadata")
async def what_a_model_takes_and_gives(asker: Asker) -> None:
    metadata = await asker.ask("get_model_metadata", "tiny", as_json=True)
    assert metadata["inputs"] == [{"name": "image", "datatype": "FP32", "shape": ["-1", "4", "4", "1"]}]
    assert metadata["outputs"] == [{"name": "predictions", "datatype": "FP32", "shape": ["-1", "3"]}]
    status, reason = await asker.refusal("get_model_metadata", "tyni")
    assert (status, "nearest: 'tiny'" in reason) == ("NOT_FOUND", True)


@covers("get_model_config")
async def how_a_model_is_served(asker: Asker) -> None:
    config = (await asker.ask("get_model_config", "tiny", as_json=True))["config"]
    assert config["max_batch_size"] >= 1
    assert config["dynamic_batching"] == {}
    assert config["input"] == [{"name": "image", "data_type": "TYPE_FP32", "dims": ["4", "4", "1"]}]
    assert config["output"] == [{"name": "predictions", "data_type": "TYPE_FP32", "dims": ["3"]}]


@covers("get_model_repository_index", "load_model", "unload_model")
async def which_models_are_served(asker: Asker) -> None:
    async def ready() -> list[str]:
        index = await asker.ask("get_model_repository_index", as_json=True)
        return sorted(each["name"] for each in index["models"] if each["state"] == "READY")

    assert await ready() == ["other", "tiny"]
    await asker.ask("unload_model", "other", unload_dependents=True)
    assert await ready() == ["tiny"]
    await asker.ask("load_model", "other")
    assert await ready() == ["other", "tiny"]
    for keywords in ({"config": "{}"}, {"config": "{}", "files": {"file:1/model.onnx": b"x"}}):
        status, _ = await asker.refusal("load_model", "other", **keywords)
        assert status == "INVALID_ARGUMENT"


@covers("get_inference_statistics")
async def what_was_done(asker: Asker) -> None:
    extensions = (await asker.ask("get_server_metadata", as_json=True))["extensions"]
    if "statistics" not in extensions:
        assert (await asker.refusal("get_inference_statistics"))[0] == "UNIMPLEMENTED"
        return
    await asker.ask("infer", "tiny", [write_input()])
    statistics = await asker.ask("get_inference_statistics", "tiny", as_json=True)
    (model,) = statistics["model_stats"]
    assert model["name"] == "tiny"
    assert int(model["inference_count"]) >= len(IMAGE)


@covers("update_trace_settings", "get_trace_settings")
async def which_requests_leave_traces(asker: Asker) -> None:
    settings = {"trace_level": ["OFF"], "trace_rate": "10", "trace_count": None}
    changed = await asker.ask("update_trace_settings", "tiny", settings, as_json=True)
    assert changed["settings"]["trace_rate"] == {"value": ["10"]}
    assert await asker.ask("get_trace_settings", "tiny", as_json=True) == changed
    await asker.ask("update_trace_settings", "tiny", {"trace_rate": None, "trace_level": None})
    general = await asker.ask("get_trace_settings", as_json=True)
    assert await asker.ask("get_trace_settings", "tiny", as_json=True) == general
    status, _ = await asker.refusal("update_trace_settings", settings={"trace_file": "trace.json"})
    assert status == "INVALID_ARGUMENT"


@covers("update_log_settings", "get_log_settings")
async def what_is_logged(asker: Asker) -> None:
    before = await asker.ask("get_log_settings", as_json=True)
    settings = {"log_info": False, "log_verbose_level": 2, "log_format": "ISO8601", "log_file": ""}
    changed = (await asker.ask("update_log_settings", settings, as_json=True))["settings"]
    assert (changed["log_info"], changed["log_verbose_level"]) == ({"bool_param": False}, {"uint32_param": 2})
    await asker.ask("update_log_settings", {"log_info": True, "log_verbose_level": 0, "log_format": "default"})
    assert await asker.ask("get_log_settings", as_json=True) == before
    status, _ = await asker.refusal("update_log_settings", {"log_file": "strata.log"})
    assert status == "INVALID_ARGUMENT"


@covers("get_system_shared_memory_status", "register_system_shared_memory", "unregister_system_shared_memory")
async def tensors_in_shared_memory(asker: Asker) -> None:
    key = f"strata-triton-{os.getpid()}"
    size = IMAGE.nbytes + SCORES.nbytes
    memory = triton_memory.create_shared_memory_region("pair", key, size)
    try:
        triton_memory.set_shared_memory_region(memory, [IMAGE])
        await asker.ask("unregister_system_shared_memory")
        await asker.ask("register_system_shared_memory", "pair", f"/{key}", size)
        status = await asker.ask("get_system_shared_memory_status", as_json=True)
        assert status["regions"] == {"pair": {"name": "pair", "key": f"/{key}", "byte_size": str(size)}}
        tensor = triton.InferInput("image", IMAGE.shape, "FP32")
        tensor.set_shared_memory("pair", IMAGE.nbytes)
        outputs = [triton.InferRequestedOutput("predictions"), triton.InferRequestedOutput("scores")]
        outputs[0].set_shared_memory("pair", SCORES.nbytes, offset=IMAGE.nbytes)
        answer = await asker.ask("infer", "tiny", [tensor], outputs=outputs)
        told = answer.get_output("predictions")
        assert told.parameters["shared_memory_region"].string_param == "pair"
        written = triton_memory.get_contents_as_numpy(memory, np.float32, list(told.shape), IMAGE.nbytes)
        assert_close(written, SCORES)
        assert_close(answer.as_numpy("scores"), tiny_answer(IMAGE)["scores"])
        await asker.ask("unregister_system_shared_memory", "pair")
        status, _ = await asker.refusal("infer", "tiny", [tensor], outputs=outputs)
        assert status == "NOT_FOUND"
    finally:
        triton_memory.destroy_shared_memory_region(memory)


@covers("get_cuda_shared_memory_status", "register_cuda_shared_memory", "unregister_cuda_shared_memory")
async def cuda_shared_memory(asker: Asker) -> None:
    assert await asker.ask("get_cuda_shared_memory_status", as_json=True) == {}
    await asker.ask("unregister_cuda_shared_memory")
    status, reason = await asker.refusal("register_cuda_shared_memory", "cuda", b"eA==", 0, 64)
    assert (status, "CUDA" in reason) == ("UNIMPLEMENTED", True)
    status, _ = await asker.refusal("unregister_cuda_shared_memory", "cuda")
    assert status == "UNIMPLEMENTED"


@covers("infer")
async def a_prediction_its_classes_and_layers(asker: Asker) -> None:
    outputs = [
        triton.InferRequestedOutput("predictions", class_count=1),
        triton.InferRequestedOutput("flat"),
    ]
    answer = await asker.ask(
        "infer", "tiny", [write_input()], outputs=outputs, request_id="7", priority=1, timeout=10**7
    )
    texts = [each.decode().split(":") for each in answer.as_numpy("predictions").ravel()]
    assert [(int(index), label) for _, index, label in texts] == [
        (each, CLASSES[each]) for each in SCORES.argmax(axis=1)
    ]
    assert_close([float(score) for score, _, _ in texts], SCORES.max(axis=1).round(6))
    assert_close(answer.as_numpy("flat"), tiny_answer(IMAGE)["flat"])
    assert answer.get_response().id == "7"
    pooled = await asker.ask(
        "infer", "tiny", [write_input()], outputs=[triton.InferRequestedOutput("double")], parameters={"pooling": "max"}
    )
    assert_close(pooled.as_numpy("double"), tiny_answer(IMAGE)["double"].max((1, 2)))
    for keywords, status in (
        ({"sequence_id": 1, "sequence_start": True}, "UNIMPLEMENTED"),
        ({"parameters": {"temperature": 0.5}}, "INVALID_ARGUMENT"),
        ({"model_version": "9"}, "NOT_FOUND"),
    ):
        assert (await asker.refusal("infer", "tiny", [write_input()], **keywords))[0] == status


@covers("async_infer")
async def a_prediction_with_a_callback(asker: Asker) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    for model in ("tiny", "tyni"):
        await asker.ask("async_infer", model, [write_input()], lambda result, error: answers.put((result, error)))
    received = [answers.get(timeout=20) for _ in range(2)]
    ((result, _),) = [each for each in received if each[1] is None]
    ((_, error),) = [each for each in received if each[1] is not None]
    assert_close(result.as_numpy("predictions"), SCORES)
    assert error.status() == "StatusCode.NOT_FOUND"


@covers("start_stream", "async_stream_infer", "stop_stream")
async def a_stream_with_callbacks(asker: Asker) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    await asker.ask("start_stream", lambda result, error: answers.put((result, error)))
    for turn in range(3):
        await asker.ask(
            "async_stream_infer",
            "tiny",
            [write_input(IMAGE + np.float32(turn))],
            request_id=str(turn),
            enable_empty_final_response=True,
        )
    await asker.ask("async_stream_infer", "tyni", [write_input()])
    received = [answers.get(timeout=20) for _ in range(4)]
    await asker.ask("stop_stream")
    results = {result.get_response().id: result for result, error in received if error is None}
    assert sorted(results) == ["0", "1", "2"]
    for turn, result in results.items():
        assert result.get_response().parameters["triton_final_response"].bool_param
        expected = tiny_answer(IMAGE + np.float32(int(turn)))["predictions"]
        assert_close(result.as_numpy("predictions"), expected)
    assert ["unknown model 'tyni'" in error.message() for _, error in received if error] == [True]


@covers("stream_infer")
async def a_stream_of_an_iterator(asker: Asker) -> None:
    async def requests() -> AsyncIterator[dict[str, Any]]:
        for turn, model in enumerate(("tiny", "tyni", "other")):
            yield {"model_name": model, "inputs": [write_input()], "request_id": str(turn)}

    received = [each async for each in asker.client.stream_infer(requests(), stream_timeout=20)]
    results = {result.get_response().id: result for result, error in received if error is None}
    assert sorted(results) == ["0", "2"]
    for result in results.values():
        assert_close(result.as_numpy("predictions"), SCORES)
    assert len(received) == 3


@covers("close")
async def the_end(asker: Asker) -> None:
    assert await asker.ask("is_server_live")
    await asker.ask("close")


@covers("plugin", "register_plugin", "unregister_plugin")
async def a_plugin(asker: Asker) -> None:
    class Header(triton.InferenceServerClientPlugin):  # type: ignore[misc]
        def __call__(self, request: Any) -> None:
            request.headers["authorization"] = "Basic strata"

    await asker.ask("register_plugin", Header())
    assert asker.client.plugin() is not None
    assert await asker.ask("is_server_live")
    await asker.ask("unregister_plugin")
