"""Every bad request gets a clear error, and the server goes on serving."""

import io
import zlib
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from artifacts import SIDE
from PIL import Image
from strata.v1 import catalog_pb2, inference_pb2, tensor_pb2
from strata_server.rpc.open_inference import open_inference_pb2
from wire import Stubs, tensors

GOOD = np.ones((1, SIDE, SIDE, 1), np.float32)
ROW_BYTES = SIDE * SIDE * 4


@pytest.fixture(autouse=True)
def _still_serving(stubs: Stubs) -> Iterator[None]:
    yield
    answer = stubs.predict(inference_pb2.PredictRequest(tensors=tensors(GOOD), top_k=1))
    assert len(answer.predictions) == 1


def refusal(call: Any, request: object) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(request)
    return caught.value.code(), caught.value.details() or ""


def tensor(**changes: Any) -> tensor_pb2.Tensors:
    fields = {"data_type": "DATA_TYPE_FLOAT32", "shape": GOOD.shape, "data": GOOD.tobytes(), **changes}
    return tensor_pb2.Tensors(tensors=[tensor_pb2.Tensor(**fields)])


def png(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (width, height)).save(file, "PNG")
    return file.getvalue()


def png_that_claims(width: int, height: int) -> bytes:
    """Return a PNG of a few bytes whose header promises a huge picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(kind + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + kind + data + crc

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


BAD_TENSORS = {
    "a dimension too few": (
        tensor(shape=[SIDE, SIDE, 1]),
        "expected (-1, 4, 4, 1) float32, received (4, 4, 1)",
    ),
    "another height": (
        tensor(shape=[1, SIDE - 1, SIDE, 1], data=GOOD.tobytes()[: (SIDE - 1) * SIDE * 4]),
        "expected (-1, 4, 4, 1) float32, received (1, 3, 4, 1) float32",
    ),
    "a batch of zero": (tensor(shape=[0, SIDE, SIDE, 1], data=b""), "each dimension to be from 1 to 2147483647"),
    "a negative size": (tensor(shape=[-1, SIDE, SIDE, 1]), "each dimension to be from 1 to 2147483647"),
    "a size that wraps around": (tensor(shape=[2**62, SIDE, SIDE, 1]), "each dimension to be from 1 to 2147483647"),
    "sizes whose product wraps around": (tensor(shape=[2**31 - 1] * 4), "received 64"),
    "a thousand dimensions": (tensor(shape=[1] * 1000), "at most 16 dimensions, received 1000"),
    "another type": (
        tensor(data_type="DATA_TYPE_FLOAT64", data=GOOD.astype(np.float64).tobytes()),
        "expected (-1, 4, 4, 1) float32, received (1, 4, 4, 1) float64",
    ),
    "no type": (tensor(data_type="DATA_TYPE_UNSPECIFIED"), "expected a data type"),
    "a type from the future": (tensor(data_type=99), "expected a data type, received 99"),
    "a byte too few": (tensor(data=GOOD.tobytes()[:-1]), "expected 64 bytes"),
    "a byte too many": (tensor(data=GOOD.tobytes() + b"\0"), "received 65"),
    "no tensors": (tensor_pb2.Tensors(), "expected a value for the input 'image', received none"),
    "the input twice": (tensors(GOOD, GOOD), "each input once, received one of them twice"),
    "the input by name and without": (
        tensor_pb2.Tensors(tensors=[*tensors(GOOD).tensors, *tensors(GOOD, name="image").tensors]),
        "expected each input once, received 'image' twice",
    ),
    "very many": (tensors(*[GOOD] * 1000), "each of 5 inputs and layers at most once, received 1000 values"),
    "a layer of another shape": (
        tensors(GOOD, name="flat"),
        "model tiny: 'flat': expected (-1, 16) float32, received (1, 4, 4, 1)",
    ),
}


@pytest.mark.parametrize(("bad", "reason"), BAD_TENSORS.values(), ids=BAD_TENSORS)
@pytest.mark.parametrize("rpc", ["predict", "activations"])
def test_a_wrong_tensor_is_refused_with_expected_and_received(
    stubs: Stubs, rpc: str, bad: tensor_pb2.Tensors, reason: str
) -> None:
    request: Any = inference_pb2.PredictRequest(tensors=bad)
    if rpc == "activations":
        request = inference_pb2.GetActivationsRequest(tensors=bad, layers=["flat"])
    code, details = refusal(getattr(stubs, rpc), request)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert reason in details


BAD_PICTURES = {
    "text": (b"this is no picture", "picture 1: expected a PNG or JPEG file, received 18 bytes"),
    "nothing": (b"", "picture 1: expected a PNG or JPEG file, received 0 bytes"),
    "half a PNG": (png(64, 64)[:60], "picture 1: expected a whole PNG file, received a damaged one"),
    "a GIF": (b"GIF89a" + bytes(100), "expected a PNG or JPEG file"),
    "the first bytes of a JPEG": (b"\xff\xd8\xff\xe0" + bytes(20), "expected a PNG or JPEG file"),
}


@pytest.mark.parametrize(("bad", "reason"), BAD_PICTURES.values(), ids=BAD_PICTURES)
def test_what_is_no_picture_is_refused_with_its_place(stubs: Stubs, bad: bytes, reason: str) -> None:
    request = inference_pb2.PredictRequest(images=tensor_pb2.Images(encoded=[png(4, 4), bad]))
    code, details = refusal(stubs.predict, request)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert reason in details


def test_a_picture_bomb_is_refused_before_it_is_decoded(stubs: Stubs) -> None:
    request = inference_pb2.PredictRequest(images=tensor_pb2.Images(encoded=[png_that_claims(50_000, 50_000)]))
    code, details = refusal(stubs.predict, request)
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "at most 32000000 pixels in a request, received 2500000000 in 1 pictures" in details


@pytest.mark.parametrize("images", [tensor_pb2.Images(), None], ids=["no pictures", "no inputs"])
def test_a_request_without_inputs_is_refused(stubs: Stubs, images: tensor_pb2.Images | None) -> None:
    code, details = refusal(stubs.predict, inference_pb2.PredictRequest(images=images))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "received" in details


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_labels_for_what_is_not_a_number_are_refused_with_the_row(stubs: Stubs, value: float) -> None:
    batch = np.ones((3, SIDE, SIDE, 1), np.float32)
    batch[1, 2, 3, 0] = value
    code, details = refusal(stubs.predict, inference_pb2.PredictRequest(tensors=tensors(batch), top_k=1))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert f"'image' holds {value} in row 1, at (1, 2, 3, 0)" in details
    assert len(stubs.predict(inference_pb2.PredictRequest(tensors=tensors(batch))).outputs) == 1


def test_finite_numbers_that_lead_to_a_score_that_is_none_are_refused(stubs: Stubs) -> None:
    huge = np.full((1, SIDE, SIDE, 1), 3e38, np.float32)
    code, details = refusal(stubs.predict, inference_pb2.PredictRequest(tensors=tensors(huge), top_k=1))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "score that is no number" in details


def test_a_negative_top_k_is_refused(stubs: Stubs) -> None:
    code, details = refusal(stubs.predict, inference_pb2.PredictRequest(tensors=tensors(GOOD), top_k=-1))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "received -1" in details


UNKNOWN = {
    "a model": (catalog_pb2.ModelReference(name="tyni"), "unknown model 'tyni'; nearest: 'tiny'"),
    "a version": (
        catalog_pb2.ModelReference(name="tiny", version="3"),
        "unknown version 3 of model 'tiny'; served: 1, 12",
    ),
    "a path": (catalog_pb2.ModelReference(name="../tiny"), "unknown model '../tiny'"),
    "a name of a megabyte": (catalog_pb2.ModelReference(name="x" * 2**20), "…"),
    "a name that is markup": (catalog_pb2.ModelReference(name="\x1b[31m\n"), "'\\x1b[31m\\n'"),
}


@pytest.mark.parametrize(("reference", "reason"), UNKNOWN.values(), ids=UNKNOWN)
def test_what_is_unknown_is_not_found_with_the_nearest(
    stubs: Stubs, reference: catalog_pb2.ModelReference, reason: str
) -> None:
    for call, request in (
        (stubs.catalog.DescribeModel, catalog_pb2.DescribeModelRequest(model=reference)),
        (stubs.predict, inference_pb2.PredictRequest(model=reference, tensors=tensors(GOOD))),
        (stubs.activations, inference_pb2.GetActivationsRequest(model=reference, tensors=tensors(GOOD))),
    ):
        code, details = refusal(call, request)
        assert code is grpc.StatusCode.NOT_FOUND
        assert reason in details
        assert len(details) < 500


@pytest.mark.parametrize("version", ["one", "0", "01", "-1", "1 ", "9" * 400])
def test_a_version_that_is_no_number_is_refused(stubs: Stubs, version: str) -> None:
    reference = catalog_pb2.ModelReference(name="tiny", version=version)
    code, details = refusal(stubs.catalog.DescribeModel, catalog_pb2.DescribeModelRequest(model=reference))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "expected a version as a number from 1 up" in details


def test_an_unknown_layer_is_not_found_with_the_nearest(stubs: Stubs) -> None:
    request = inference_pb2.GetActivationsRequest(tensors=tensors(GOOD), layers=["prediction"])
    code, details = refusal(stubs.activations, request)
    assert (code, details) == (
        grpc.StatusCode.NOT_FOUND,
        "model tiny: unknown layer 'prediction'; nearest: 'predictions'",
    )


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ([], "received none"),
        (["flat", "double", "flat"], "'flat' 2 times"),
        (["flat"] * 100_000, "each of 5 layers at most once, received 100000 names"),
    ],
    ids=["none", "one twice", "one very often"],
)
def test_layers_are_asked_once_each(stubs: Stubs, layers: list[str], reason: str) -> None:
    request = inference_pb2.GetActivationsRequest(tensors=tensors(GOOD), layers=layers)
    code, details = refusal(stubs.activations, request)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert reason in details


def test_bytes_that_are_no_message_are_refused(stubs: Stubs) -> None:
    code, details = refusal(lambda body: stubs.call("/strata.v1.InferenceService/Predict", body), b"\xff" * 40)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "expected a message strata.v1.PredictRequest" in details


def test_an_unknown_method_is_unimplemented(stubs: Stubs) -> None:
    code, _ = refusal(lambda body: stubs.call("/strata.v1.InferenceService/Train", body), b"")
    assert code is grpc.StatusCode.UNIMPLEMENTED


def test_compression_does_not_lift_the_limit_on_a_message(stubs: Stubs) -> None:
    predict: Any = stubs.channel.unary_unary("/strata.v1.InferenceService/Predict")
    with pytest.raises(grpc.RpcError) as caught:
        predict(bytes(65 * 2**20), compression=grpc.Compression.Gzip, timeout=60)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def infer_request(**changes: Any) -> open_inference_pb2.ModelInferRequest:
    fields: dict[str, Any] = {
        "model_name": "tiny",
        "inputs": [{"name": "image", "datatype": "FP32", "shape": GOOD.shape}],
        "raw_input_contents": [GOOD.tobytes()],
        **changes,
    }
    return open_inference_pb2.ModelInferRequest(**fields)


IMAGE = {"name": "image", "datatype": "FP32", "shape": GOOD.shape}
INVALID, MISSING = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
UNSERVED = grpc.StatusCode.UNIMPLEMENTED
REGION = {"shared_memory_region": {"string_param": "there"}}
BAD_INFERENCES = {
    "an unknown model": (infer_request(model_name="tyni"), MISSING, "nearest: 'tiny'"),
    "an unknown version": (infer_request(model_version="7"), MISSING, "served: 1, 12"),
    "an unknown output": (infer_request(outputs=[{"name": "score"}]), MISSING, "nearest: 'scores'"),
    "an unknown input": (infer_request(inputs=[{**IMAGE, "name": "imag"}]), MISSING, "nearest: 'image'"),
    "an output twice": (infer_request(outputs=[{"name": "flat"}, {"name": "flat"}]), INVALID, "2 times"),
    "an unknown datatype": (infer_request(inputs=[{**IMAGE, "datatype": "FP31"}]), INVALID, "received 'FP31'"),
    "another datatype": (infer_request(inputs=[{**IMAGE, "datatype": "INT32"}]), INVALID, "received (1, 4, 4, 1) int32"),
    "another shape": (infer_request(inputs=[{**IMAGE, "shape": [1, 16]}]), INVALID, "received (1, 16) float32"),
    "a byte too few": (infer_request(raw_input_contents=[GOOD.tobytes()[:-1]]), INVALID, "received 63"),
    "more contents than inputs": (infer_request(raw_input_contents=[b"", b""]), INVALID, "expected 1 raw_input_contents"),
    "two kinds of contents": (
        infer_request(inputs=[{**IMAGE, "contents": {"fp32_contents": [1.0]}}]),
        INVALID,
        "received both",
    ),
    "no contents": (infer_request(raw_input_contents=[]), INVALID, "expected 16 elements"),
    "contents in another field": (
        infer_request(inputs=[{**IMAGE, "contents": {"fp64_contents": [1.0] * 16}}], raw_input_contents=[]),
        INVALID,
        "expected fp32_contents for FP32",
    ),
    "more inputs than there are": (
        infer_request(inputs=[IMAGE] * 1000, raw_input_contents=[b""] * 1000),
        INVALID,
        "each of 5 inputs and layers at most once, received 1000",
    ),
    "a sequence": (infer_request(parameters={"sequence_start": {"bool_param": True}}), UNSERVED, "sequence_start"),
    "a value that does not fit": (
        infer_request(
            inputs=[{**IMAGE, "datatype": "UINT8", "contents": {"uint_contents": [256] * 16}}],
            raw_input_contents=[],
        ),
        INVALID,
        "expected values of uint8, received one that does not fit",
    ),
    "shared memory that is not allowed": (
        infer_request(inputs=[{**IMAGE, "parameters": REGION}]),
        UNSERVED,
        "--allow-shared-memory",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("request_", "code", "reason"), BAD_INFERENCES.values(), ids=BAD_INFERENCES)
def test_a_bad_inference_is_refused(
    stubs: Stubs, request_: open_inference_pb2.ModelInferRequest, code: grpc.StatusCode, reason: str
) -> None:
    received, details = refusal(stubs.infer, request_)
    assert received is code
    assert reason in details
