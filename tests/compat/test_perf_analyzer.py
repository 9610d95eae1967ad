"""What Triton's perf_analyzer asks of a server before, while and after it measures, call by call.

It is a program of C++ that comes with Triton alone; what its client of gRPC calls, and what it reads of the answers,
is asked here by tritonclient, which is made from the same messages.
"""

import queue
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from artifacts import assert_close, tiny_answer, write_artifact
from processes import ServerProcess, serving
from tritonclient.utils import InferenceServerException, shared_memory
from waiting import wait_until

MODEL, VERSION = "tiny", "12"
WAIT_S = 20
DURATIONS = ("success", "queue", "compute_input", "compute_infer", "compute_output")


@pytest.fixture
def client(tiny: ServerProcess) -> Iterator[Any]:
    with triton.InferenceServerClient(tiny.grpc) as client:
        yield client


def image(rows: int) -> Any:
    return np.random.default_rng(rows).random((rows, 4, 4, 1), np.float32)


def enter(value: Any) -> list[Any]:
    tensor = triton.InferInput("image", value.shape, "FP32")
    tensor.set_data_from_numpy(value)
    return [tensor]


@dataclass(frozen=True)
class Counts:
    """What perf_analyzer reads of ModelStatistics, before and after each of its windows."""

    inferences: int
    executions: int
    counts: dict[str, int]
    times_ns: dict[str, int]


def read_counts(client: Any) -> Counts:
    found = client.get_inference_statistics(MODEL, VERSION).model_stats
    assert [(each.name, each.version) for each in found] == [(MODEL, VERSION)]
    stats = found[0].inference_stats
    return Counts(
        found[0].inference_count,
        found[0].execution_count,
        {name: getattr(stats, name).count for name in DURATIONS},
        {name: getattr(stats, name).ns for name in DURATIONS},
    )


def infer_at_once(client: Any, requests: int, rows: int) -> dict[str, Any]:
    """Send requests without waiting for one another, as it does, and return the answers by their ids."""
    answers: queue.Queue[Any] = queue.Queue()
    for number in range(requests):
        client.async_infer(
            MODEL,
            enter(image(rows)),
            lambda result, error: answers.put(error or result),
            model_version=VERSION,
            outputs=[triton.InferRequestedOutput("predictions")],
            request_id=str(number),
        )
    found = [answers.get(timeout=WAIT_S) for _ in range(requests)]
    return {answer.get_response().id: answer for answer in found}


def test_the_server_says_that_it_tells_configurations_and_statistics(client: Any) -> None:
    metadata = client.get_server_metadata()
    assert metadata.name
    assert metadata.version
    assert {"model_configuration", "statistics"} <= set(metadata.extensions)
    assert not {"sequence", "cuda_shared_memory"} & set(metadata.extensions)  # what is listed, it may use


def test_inputs_are_described_alike_by_metadata_and_configuration(client: Any) -> None:
    metadata = client.get_model_metadata(MODEL, VERSION)
    config = client.get_model_config(MODEL, VERSION).config
    assert (metadata.name, config.name) == (MODEL, MODEL)
    assert VERSION in metadata.versions
    for described, configured in ((metadata.inputs, config.input), (metadata.outputs, config.output)):
        assert [tensor.name for tensor in described] == [tensor.name for tensor in configured]
        for tensor, declared in zip(described, configured, strict=True):
            assert (tensor.datatype, declared.data_type) == ("FP32", 11)  # TYPE_FP32
            # It takes the first size to be the batch where there is a max_batch_size, and leaves it out.
            assert list(tensor.shape) == [-1, *declared.dims]
            assert all(size > 0 for size in declared.dims)  # an open one would have to be given by hand


def test_rows_of_requests_are_batched_and_no_model_has_sequences_or_steps(client: Any) -> None:
    config = client.get_model_config(MODEL, VERSION).config
    assert config.max_batch_size > 0
    assert config.HasField("dynamic_batching")
    assert not config.HasField("sequence_batching")
    assert not config.HasField("ensemble_scheduling")
    assert not config.model_transaction_policy.decoupled


@pytest.mark.parametrize(("requests", "rows"), [(1, 1), (16, 1), (8, 3)])
def test_statistics_grow_by_exactly_what_was_asked(client: Any, requests: int, rows: int) -> None:
    before = read_counts(client)
    infer_at_once(client, requests, rows)
    # An answer may be here a moment before it is counted.
    wait_until(lambda: read_counts(client).counts["success"] >= before.counts["success"] + requests)
    after = read_counts(client)
    assert after.inferences - before.inferences == requests * rows
    assert 1 <= after.executions - before.executions <= requests
    grown = {name: after.counts[name] - before.counts[name] for name in DURATIONS}
    assert grown == dict.fromkeys(DURATIONS, requests)
    times = {name: after.times_ns[name] - before.times_ns[name] for name in DURATIONS}
    assert min(times.values()) >= 0
    assert times["compute_infer"] > 0
    # It takes what is left of a request's time to be the server's own.
    assert sum(times[name] for name in DURATIONS if name != "success") <= times["success"]


def test_a_request_that_fails_counts_as_no_success(client: Any) -> None:
    before = read_counts(client)
    with pytest.raises(InferenceServerException):
        client.infer(MODEL, enter(np.zeros((1, 2, 2, 1), np.float32)), model_version=VERSION)
    after = read_counts(client)
    assert (after.inferences, after.counts) == (before.inferences, before.counts)


def test_statistics_without_a_name_are_of_all_models(client: Any) -> None:
    infer_at_once(client, 1, 1)
    found = client.get_inference_statistics().model_stats
    assert (MODEL, VERSION) in {(each.name, each.version) for each in found}


def test_each_of_many_requests_at_once_is_answered_under_its_id(client: Any) -> None:
    answers = infer_at_once(client, 32, 2)
    assert set(answers) == {str(number) for number in range(32)}
    for answer in answers.values():
        assert (answer.get_response().model_name, answer.get_response().model_version) == (MODEL, VERSION)
        assert len(answer.get_response().raw_output_contents) == 1
        assert_close(answer.as_numpy("predictions"), tiny_answer(image(2))["predictions"])


def test_a_stream_answers_each_request_once_and_says_that_it_was_the_last(client: Any) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    client.start_stream(partial(_put, answers))
    for number in range(16):
        client.async_stream_infer(
            MODEL,
            enter(image(1)),
            model_version=VERSION,
            request_id=str(number),
            enable_empty_final_response=True,
        )
    found = [answers.get(timeout=WAIT_S).get_response() for _ in range(16)]
    client.stop_stream()
    assert Counter(answer.id for answer in found) == Counter(map(str, range(16)))
    assert all(answer.parameters["triton_final_response"].bool_param for answer in found)
    assert answers.empty()


def _put(answers: "queue.Queue[Any]", result: Any, error: Any) -> None:
    answers.put(error or result)


def test_regions_of_shared_memory_are_dropped_before_it_begins_wherever_there_are_none(client: Any) -> None:
    client.unregister_system_shared_memory()
    client.unregister_cuda_shared_memory()
    assert not client.get_system_shared_memory_status().regions
    assert not client.get_cuda_shared_memory_status().regions


def test_regions_of_a_run_before_are_dropped_where_shared_memory_is_allowed(tmp_path: Path) -> None:
    write_artifact(tmp_path)
    with serving(tmp_path, "--allow-shared-memory") as server, triton.InferenceServerClient(server.grpc) as client:
        key = f"/strata-{uuid.uuid4()}"
        region = shared_memory.create_shared_memory_region("input", key, 64)
        try:
            client.register_system_shared_memory("input", key, 64)
            assert list(client.get_system_shared_memory_status().regions) == ["input"]
            client.unregister_system_shared_memory()
            assert not client.get_system_shared_memory_status().regions
        finally:
            shared_memory.destroy_shared_memory_region(region)


def test_shared_memory_that_is_not_allowed_is_unimplemented(client: Any) -> None:
    register = partial(client.register_system_shared_memory, "input", "/strata-input", 64)
    for call in (register, partial(client.register_cuda_shared_memory, "input", b"aGFuZGxl", 0, 64)):
        with pytest.raises(InferenceServerException) as caught:
            call()
        assert caught.value.status() == "StatusCode.UNIMPLEMENTED"


@pytest.mark.parametrize("name", ["echoes", "words"])
def test_text_of_any_length_is_measured_as_well(typed: ServerProcess, name: str) -> None:
    """It fills BYTES inputs with random strings of a length that it is told."""
    layer, output = {"echoes": ("BYTES", "BYTES_out"), "words": ("text", "joined")}[name]
    random = np.random.default_rng(0)
    with triton.InferenceServerClient(typed.grpc) as client:
        for length in (0, 1, 128, 4096):
            letters = "".join(map(chr, random.integers(97, 123, length)))
            tensor = triton.InferInput(layer, (1, 2), "BYTES")
            tensor.set_data_from_numpy(np.array([[letters, letters]], object))
            answer = client.infer(name, [tensor], outputs=[triton.InferRequestedOutput(output)]).as_numpy(output)
            assert [text.removesuffix(b"!") for text in answer.ravel()] == [letters.encode()] * 2
