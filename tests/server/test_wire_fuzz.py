"""Requests of every RPC, made wrong: each gets an answer or a clear error, and the server stays what it was."""

import io
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any, cast

import grpc
import numpy as np
import onnx
import psutil
import pytest
from artifacts import SIDE, assert_close, tiny_answer, write_artifact
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from mutations import Mutator
from onnx import TensorProto, helper
from PIL import Image
from processes import ServerProcess, serving
from strata.v1 import catalog_pb2, inference_pb2, repository_pb2, tensor_pb2
from strata_server.rpc.open_inference import open_inference_pb2 as oip
from wire import connect, tensors

FILES = (catalog_pb2, inference_pb2, repository_pb2, oip, health_pb2, reflection_pb2)
METHODS: dict[str, MethodDescriptor] = {
    f"/{service.full_name}/{method.name}": method
    for file in FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
CORPUS = json.loads((Path(__file__).parent / "wire_corpus.json").read_text())
# Nothing in a request can be a reason for these.
DEFECTS = {"INTERNAL", "UNKNOWN", "UNAVAILABLE", "CANCELLED", "DATA_LOSS", "ABORTED"}
WAIT_S = 30
CONNECTIONS = 4
# Measured: 2 MiB. Slices are bounded by --slice-memory, what is remembered of requests by a number; the allocator keeps
# pages of threads that were busy at the same time.
GROWTH_BYTES = 16 * 2**20
REGION_BYTES = 4096
MEMORY = f"strata-fuzz-{os.getpid()}"
WORDS = (
    "", "tiny", "1", "12", "0", "-1", "999999999999999999999", "stable", "image", "double", "flat", "scores", "predictions",
    "mixed", "ints", "flags", "halves", "negated", "singles", "FP32", "FP16", "BF16", "INT64", "UINT8", "BOOL", "BYTES", "TYPE_FP32", "timeout", "priority", "classification",
    "binary_data_output", "sequence_id", "sequence_start", "shared_memory_region", "shared_memory_offset",
    "shared_memory_byte_size", "log_verbose_level", "log_info", "trace_level", "trace_rate", "log_file", "config",
    "file:1/model.onnx", "inference.GRPCInferenceService", "strata.v1.InferenceService", "strata/v1/catalog.proto",
    "../../etc/passwd", f"/{MEMORY}", "region", "\0", "%s%n", "<b>", "señal", "\U0001f600", "x" * 127, "x" * 5000,
)  # fmt: skip

TINY = catalog_pb2.ModelReference(name="tiny", version="1")
IMAGE = np.random.default_rng(3).random((2, SIDE, SIDE, 1), np.float32)


@dataclass
class Outcomes:
    """What came of many requests."""

    codes: Counter[str] = field(default_factory=Counter)
    defects: list[str] = field(default_factory=list)
    """Requests with answers that none should have, each so that it can go into the corpus."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, path: str, bodies: list[bytes], code: str, details: str, seconds: float) -> None:
        """Count an answer."""
        with self.lock:
            self.codes[code] += 1
        if code in DEFECTS or "internal error" in details or "Traceback" in details or seconds > WAIT_S / 2:
            answer = f"{code} {details!r} after {seconds:.1f} s"
            self.defects.append(json.dumps({"path": path, "bodies": [body.hex() for body in bodies], "why": answer}))


def png() -> bytes:
    file = io.BytesIO()
    Image.new("L", (SIDE, SIDE)).save(file, "PNG")
    return file.getvalue()


def infer_request() -> oip.ModelInferRequest:
    request = oip.ModelInferRequest(model_name="tiny", model_version="1", id="7", raw_input_contents=[IMAGE.tobytes()])
    request.inputs.add(name="image", datatype="FP32", shape=IMAGE.shape)
    request.outputs.add(name="scores")
    return request


def typed_request() -> oip.ModelInferRequest:
    request = oip.ModelInferRequest(model_name="tiny")
    tensor = request.inputs.add(name="image", datatype="FP32", shape=IMAGE.shape)
    tensor.contents.fp32_contents.extend(IMAGE.ravel().tolist())
    request.parameters["timeout"].int64_param = 10**7
    request.parameters["priority"].int64_param = 2
    request.outputs.add(name="predictions").parameters["classification"].int64_param = 2
    return request


def mixed_model() -> onnx.ModelProto:
    """Return a network with an input and an output of each of three types."""
    kinds = {"ints": TensorProto.INT64, "flags": TensorProto.BOOL, "halves": TensorProto.FLOAT16}
    nodes = [
        helper.make_node("Neg", ["ints"], ["negated"]),
        helper.make_node("Not", ["flags"], ["opposed"]),
        helper.make_node("Cast", ["halves"], ["singles"], to=TensorProto.FLOAT),
    ]
    outputs = {"negated": TensorProto.INT64, "opposed": TensorProto.BOOL, "singles": TensorProto.FLOAT}
    inputs, answers = (
        [helper.make_tensor_value_info(name, kind, ["rows", 2]) for name, kind in each.items()]
        for each in (kinds, outputs)
    )
    graph = helper.make_graph(nodes, "mixed", inputs, answers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def mixed_request(*, raw: bool) -> oip.ModelInferRequest:
    """Return a request for it; half precision travels in raw bytes alone."""
    request = oip.ModelInferRequest(model_name="mixed")
    ints = request.inputs.add(name="ints", datatype="INT64", shape=[1, 2])
    flags = request.inputs.add(name="flags", datatype="BOOL", shape=[1, 2])
    if raw:
        request.inputs.add(name="halves", datatype="FP16", shape=[1, 2])
        request.raw_input_contents.extend([bytes(16), b"\1\0", bytes(4)])
        return request
    ints.contents.int64_contents.extend([1, -(2**63)])
    flags.contents.bool_contents.extend([True, False])
    request.outputs.add(name="negated")
    request.outputs.add(name="opposed")
    return request


def shared_request() -> oip.ModelInferRequest:
    """Return a request whose input and output lie in shared memory."""
    request = oip.ModelInferRequest(model_name="tiny")
    request.inputs.add(name="image", datatype="FP32", shape=IMAGE.shape)
    request.outputs.add(name="scores")
    for tensor, offset, size in ((request.inputs[0], 0, IMAGE.nbytes), (request.outputs[0], 1024, 24)):
        tensor.parameters["shared_memory_region"].string_param = "region"
        tensor.parameters["shared_memory_offset"].int64_param = offset
        tensor.parameters["shared_memory_byte_size"].int64_param = size
    return request


def activations_request() -> inference_pb2.GetActivationsRequest:
    request = inference_pb2.GetActivationsRequest(model=TINY, tensors=tensors(IMAGE), layers=["double", "scores"])
    request.reduction.pooling = inference_pb2.POOLING_MEAN
    request.layer_reductions["scores"].top_channels = 2
    return request


def seeds() -> dict[type[Message], list[Message]]:
    """Return valid requests, by their kind."""
    entered = tensor_pb2.Tensors(tensors=[*tensors(IMAGE.reshape(2, -1), name="flat").tensors])
    predict = inference_pb2.PredictRequest(model=TINY, tensors=tensors(IMAGE), top_k=2)
    picture = inference_pb2.PredictRequest(model=TINY, images=tensor_pb2.Images(encoded=[png()]), top_k=1)
    entering = inference_pb2.GetActivationsRequest(model=TINY, tensors=entered, layers=["predictions"])
    load = oip.RepositoryModelLoadRequest(model_name="tiny")
    log = oip.LogSettingsRequest()
    log.settings["log_verbose_level"].uint32_param = 0
    trace = oip.TraceSettingRequest(model_name="tiny")
    trace.settings["trace_level"].value.append("OFF")
    region = oip.SystemSharedMemoryRegisterRequest(name="region", key=f"/{MEMORY}", byte_size=REGION_BYTES)
    messages: list[Message] = [
        catalog_pb2.DescribeModelRequest(model=TINY),
        predict,
        picture,
        activations_request(),
        entering,
        inference_pb2.StreamRequest(id="1", predict=predict, timeout_us=10**7),
        inference_pb2.StreamRequest(id="2", get_activations=activations_request()),
        infer_request(),
        typed_request(),
        shared_request(),
        mixed_request(raw=True),
        mixed_request(raw=False),
        oip.ModelReadyRequest(name="tiny", version="1"),
        oip.ModelMetadataRequest(name="tiny"),
        oip.ModelConfigRequest(name="tiny", version="12"),
        oip.ModelStatisticsRequest(name="tiny"),
        oip.RepositoryIndexRequest(ready=True),
        load,
        oip.RepositoryModelUnloadRequest(model_name="tiny"),
        repository_pb2.LoadModelRequest(name="tiny"),
        repository_pb2.UnloadModelRequest(name="tiny"),
        region,
        oip.CudaSharedMemoryRegisterRequest(name="region", raw_handle=b"x" * 64, byte_size=64),
        log,
        trace,
        health_pb2.HealthCheckRequest(service="strata.v1.InferenceService"),
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="strata.v1.Reduction"),
        reflection_pb2.ServerReflectionRequest(file_by_filename="strata/v1/inference.proto"),
    ]
    by_kind: dict[type[Message], list[Message]] = {}
    for message in messages:
        by_kind.setdefault(type(message), []).append(message)
    return by_kind


def send(channel: grpc.Channel, path: str, bodies: list[bytes], outcomes: Outcomes) -> int:
    """Send requests on one call, note what came of it, and return how many were answered."""
    method, answered = METHODS[path], 0
    start = time.monotonic()
    try:
        for body in answers(channel, path, bodies):
            outcomes.note(path, bodies, *read(method, body), time.monotonic() - start)
            answered += 1
    except grpc.RpcError as error:  # it ends a stream: what came behind it is not answered
        outcomes.note(path, bodies, error.code().name, error.details() or "", time.monotonic() - start)
        answered += 1
    return answered


def answers(channel: grpc.Channel, path: str, bodies: list[bytes]) -> Iterator[bytes]:
    method, raw = METHODS[path], cast("Any", channel)  # the types of grpcio want serializers
    if method.client_streaming:
        yield from raw.stream_stream(path)(iter(bodies), timeout=WAIT_S)
    elif method.server_streaming:  # a watch, which never ends by itself
        call = raw.unary_stream(path)(bodies[0], timeout=WAIT_S)
        yield next(call)
        call.cancel()
    else:
        yield raw.unary_unary(path)(bodies[0], timeout=WAIT_S)


def read(method: MethodDescriptor, body: bytes) -> tuple[str, str]:
    """Return the status and the reason that a response stands for."""
    message: Any = GetMessageClass(method.output_type).FromString(body)
    match message.DESCRIPTOR.name:
        case "StreamResponse" if message.HasField("error"):
            codes = {code.value[0]: code.name for code in grpc.StatusCode}
            return codes[message.error.code], message.error.message
        case "ModelStreamInferResponse" if message.error_message:
            return "IN_STREAM", message.error_message
    return "OK", ""


def fuzz(server: ServerProcess, count: int, seed: int) -> Outcomes:
    """Send mutated requests over a few connections at the same time."""
    outcomes = Outcomes()

    def ask(number: int) -> None:
        mutator, known = Mutator(seed + number, WORDS), seeds()
        paths = sorted(METHODS)
        # Where there is more to get wrong, more is tried.
        weights = [1 + len(METHODS[path].input_type.fields) for path in paths]
        with connect(server.grpc, alone=True).channel as channel:
            sent = 0
            while sent < count // CONNECTIONS:
                path = paths[mutator.choose(weights)]
                kind = GetMessageClass(METHODS[path].input_type)
                several = 1 + mutator.choose([1] * 8) if METHODS[path].client_streaming else 1
                bodies = [mutator.mutate(known.get(kind) or [kind()]) for _ in range(several)]
                sent += send(channel, path, bodies, outcomes)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def resident_bytes(server: ServerProcess) -> int:
    process = psutil.Process(server.process.pid)
    return sum(each.memory_info().rss for each in (process, *process.children(recursive=True)))


def check_normal(server: ServerProcess) -> None:
    """Check that valid calls get what they always got, once the model is there that a request may have unloaded."""
    stubs = connect(server.grpc, alone=True)
    load = oip.RepositoryModelLoadRequest(model_name="tiny").SerializeToString()
    stubs.call("/inference.GRPCInferenceService/RepositoryModelLoad", load)
    response = stubs.infer(infer_request())
    scores = np.frombuffer(response.raw_output_contents[0], np.float32).reshape(2, -1)
    assert_close(scores, tiny_answer(IMAGE)["scores"])
    assert (
        len(stubs.predict(inference_pb2.PredictRequest(model=TINY, tensors=tensors(IMAGE), top_k=1)).predictions) == 2
    )
    stubs.channel.close()


def check(server: ServerProcess, outcomes: Outcomes) -> None:
    assert not outcomes.defects, "\n".join(outcomes.defects[:10])
    assert server.process.poll() is None
    assert "internal error" not in server.log
    assert "Traceback" not in server.log
    # What is wrong was reached: most requests are refused, and not all for the same reason.
    assert {"OK", "INVALID_ARGUMENT", "NOT_FOUND"} <= outcomes.codes.keys(), outcomes.codes
    check_normal(server)


@pytest.fixture(scope="module", params=["queue", "public"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    models = tmp_path_factory.mktemp("models")
    write_artifact(models, version=1)
    write_artifact(models, version=12)
    write_artifact(models, "mixed", model=mixed_model(), manifest="")
    memory = SharedMemory(MEMORY, create=True, size=REGION_BYTES)
    # All that a request may change here is allowed.
    flags = (
        "--transport",
        request.param,
        "--slice-memory",
        "16MiB",
        "--allow-shared-memory",
        "--repository",
        "explicit",
    )
    try:
        with serving(models, *flags) as server:
            yield server
    finally:
        memory.close()
        memory.unlink()


def test_every_rpc_that_the_server_names_is_asked(server: ServerProcess) -> None:
    request = reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()
    with connect(server.grpc).channel as channel:
        (body,) = answers(channel, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", [request])
    listed = reflection_pb2.ServerReflectionResponse.FromString(body).list_services_response.service
    assert {service.name for service in listed} == {method.containing_service.full_name for method in METHODS.values()}


def test_two_thousand_mutated_requests_break_nothing(server: ServerProcess) -> None:
    check(server, fuzz(server, 2_000, seed=1))


@pytest.mark.parametrize("entry", CORPUS, ids=[entry["why"] for entry in CORPUS])
def test_a_hostile_request_of_the_corpus_gets_an_answer(server: ServerProcess, entry: dict[str, Any]) -> None:
    outcomes = Outcomes()
    with connect(server.grpc).channel as channel:
        send(channel, entry["path"], [bytes.fromhex(body) for body in entry["bodies"]], outcomes)
    assert not outcomes.defects
    assert set(outcomes.codes) <= set(entry["codes"])
    check_normal(server)


@pytest.mark.full_size
def test_a_hundred_thousand_mutated_requests_break_nothing_and_leave_no_memory(server: ServerProcess) -> None:
    check(server, fuzz(server, 5_000, seed=1000))  # threads, pools and caches are there after these
    before = resident_bytes(server)
    outcomes = fuzz(server, 100_000, seed=2000)
    check(server, outcomes)
    print(dict(outcomes.codes), f"{before / 2**20:.0f} MiB before, {resident_bytes(server) / 2**20:.0f} MiB after")
    assert resident_bytes(server) < before + GROWTH_BYTES
