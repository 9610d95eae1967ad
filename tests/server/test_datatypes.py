"""Every type of element over both protocols: in, out, in the middle of a network, and what is refused."""

import struct
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnx
import pytest
from artifacts import write_artifact
from onnx import TensorProto, helper, numpy_helper
from processes import ServerProcess, serving
from strata.v1 import catalog_pb2, inference_pb2, tensor_pb2
from strata_server.rpc.open_inference import open_inference_pb2 as pb
from typed_models import BFLOAT16, NAMES, SUFFIX, VALUES, Array, brains_answer, info, model, write_typed
from wire import Stubs, connect

X = np.array([[1.5, 2.25, -4], [0, np.nan, np.inf]], BFLOAT16)
CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "INT64": "int64_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
DATATYPES = {value.dtype: name for name, value in VALUES.items()}
DATA_TYPES = {
    name: {"BF16": "DATA_TYPE_BFLOAT16", "BYTES": "DATA_TYPE_STRING"}.get(name, f"DATA_TYPE_{value.dtype.name.upper()}")
    for name, value in VALUES.items()
}


@pytest.fixture
def stubs(typed: ServerProcess) -> Iterator[Stubs]:
    stubs = connect(typed.grpc)
    yield stubs
    stubs.channel.close()


def pack(*strings: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(string)) + string for string in strings)


def write(array: Array) -> bytes:
    return pack(*(text.encode() for text in array.ravel().tolist())) if array.dtype == object else array.tobytes()


def read(datatype: str, shape: Sequence[int], data: bytes) -> Array:
    if datatype != "BYTES":
        return np.frombuffer(data, VALUES[datatype].dtype).reshape(shape)
    texts = []
    while data:
        (length,) = struct.unpack_from("<I", data)
        texts.append(data[4 : 4 + length].decode())
        data = data[4 + length :]
    return np.array(texts, object).reshape(shape)


def infer(stubs: Stubs, name: str, layers: Sequence[str], values: Mapping[str, Array]) -> dict[str, Array]:
    """Ask over the Open Inference Protocol, in raw contents."""
    request = pb.ModelInferRequest(
        model_name=name,
        inputs=[
            {"name": key, "datatype": DATATYPES[value.dtype], "shape": value.shape} for key, value in values.items()
        ],
        outputs=[{"name": layer} for layer in layers],
        raw_input_contents=[write(value) for value in values.values()],
    )
    response = stubs.infer(request)
    assert [output.name for output in response.outputs] == list(layers)
    return {
        output.name: read(output.datatype, output.shape, raw)
        for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    }


def activations(stubs: Stubs, name: str, layers: Sequence[str], values: Mapping[str, Array]) -> dict[str, Array]:
    """Ask over strata.v1."""
    request = inference_pb2.GetActivationsRequest(
        model=catalog_pb2.ModelReference(name=name),
        tensors=tensor_pb2.Tensors(
            tensors=[
                tensor_pb2.Tensor(
                    name=key, data_type=DATA_TYPES[DATATYPES[value.dtype]], shape=value.shape, data=write(value)
                )
                for key, value in values.items()
            ]
        ),
        layers=layers,
    )
    known = {name: datatype for datatype, name in DATA_TYPES.items()}
    return {
        found.name: read(known[tensor_pb2.DataType.Name(found.data_type)], found.shape, found.data)
        for found in stubs.activations(request).activations
    }


ASKS = pytest.mark.parametrize("ask", [infer, activations])


def assert_same(found: Array, wanted: Array) -> None:
    assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
    if found.dtype == BFLOAT16:  # whose NaN numpy takes to be unlike another
        found, wanted = found.astype(np.float32), wanted.astype(np.float32)
    np.testing.assert_array_equal(found, wanted)


def refusal(stubs: Stubs, request: pb.ModelInferRequest) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        stubs.infer(request)
    return caught.value.code(), caught.value.details() or ""


def words_request(shape: Sequence[int], *raw: bytes, **contents: Any) -> pb.ModelInferRequest:
    text = {"name": "text", "datatype": "BYTES", "shape": shape, "contents": contents or None}
    return pb.ModelInferRequest(model_name="words", inputs=[text], outputs=[{"name": "number"}], raw_input_contents=raw)


@ASKS
@pytest.mark.parametrize("datatype", VALUES)
def test_every_datatype_leaves_as_it_entered(stubs: Stubs, ask: Any, datatype: str) -> None:
    for rows in (1, 3, 3):  # the last one is recognized by its bytes
        value = np.repeat(VALUES[datatype], rows, 0)
        assert_same(ask(stubs, "echoes", [f"{datatype}_out"], {datatype: value})[f"{datatype}_out"], value)


@pytest.mark.parametrize("datatype", VALUES)
def test_typed_contents_are_answered_typed_where_the_protocol_has_them(stubs: Stubs, datatype: str) -> None:
    value, field = VALUES[datatype], CONTENTS.get(datatype)
    elements: list[Any] = (
        [text.encode() for text in value.ravel().tolist()] if datatype == "BYTES" else value.ravel().tolist()
    )
    tensor = {
        "name": datatype,
        "datatype": datatype,
        "shape": value.shape,
        "contents": {field or "fp32_contents": elements},
    }
    request = pb.ModelInferRequest(model_name="echoes", inputs=[tensor], outputs=[{"name": f"{datatype}_out"}])
    if field is None:
        code, details = refusal(stubs, request)
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert f"{datatype} travels in raw_input_contents only" in details
        return
    response = stubs.infer(request)
    assert not response.raw_output_contents
    assert list(getattr(response.outputs[0].contents, field)) == elements


def test_the_catalog_and_the_metadata_name_every_type(stubs: Stubs) -> None:
    request = catalog_pb2.DescribeModelRequest(model=catalog_pb2.ModelReference(name="echoes"))
    layers = {layer.name: layer for layer in stubs.catalog.DescribeModel(request, timeout=20).model.layers}
    for datatype, name in DATA_TYPES.items():
        assert tensor_pb2.DataType.Name(layers[f"{datatype}_out"].data_type) == name
    assert list(layers["BYTES"].reductions) == []
    assert catalog_pb2.REDUCTION_STEP_TOP_CHANNELS in layers["BF16"].reductions
    body = pb.ModelMetadataRequest(name="echoes").SerializeToString()
    metadata = pb.ModelMetadataResponse.FromString(stubs.call("/inference.GRPCInferenceService/ModelMetadata", body))
    assert {tensor.name: tensor.datatype for tensor in metadata.inputs} == {name: name for name in VALUES}


@ASKS
def test_bfloat16_enters_and_leaves_anywhere(stubs: Stubs, ask: Any) -> None:
    wanted = brains_answer(X)
    found = ask(stubs, "brains", ["y", "inner", "x"], {"x": X})
    for name, value in found.items():
        assert_same(value, wanted[name])
    assert_same(ask(stubs, "brains", ["y"], {"inner": wanted["inner"]})["y"], wanted["y"])


@ASKS
def test_float32_enters_a_bfloat16_layer_where_nothing_has_to_be_rounded(stubs: Stubs, ask: Any) -> None:
    assert_same(ask(stubs, "brains", ["y"], {"x": X.astype(np.float32)})["y"], brains_answer(X)["y"])
    with pytest.raises(grpc.RpcError) as caught:
        ask(stubs, "brains", ["y"], {"x": np.full((1, 3), 0.1, np.float32)})
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "'x': expected bfloat16, or float32 values each of which bfloat16 holds" in (caught.value.details() or "")


def test_top_channels_and_labels_of_bfloat16(stubs: Stubs) -> None:
    wanted = brains_answer(X[:1])["y"]
    tensor = tensor_pb2.Tensor(data_type="DATA_TYPE_BFLOAT16", shape=(1, 3), data=X[:1].tobytes())
    enters: dict[str, Any] = {
        "model": catalog_pb2.ModelReference(name="brains"),
        "tensors": tensor_pb2.Tensors(tensors=[tensor]),
    }
    top = stubs.activations(
        inference_pb2.GetActivationsRequest(**enters, layers=["y"], reduction=inference_pb2.Reduction(top_channels=2))
    )
    order = np.argsort(-wanted.astype(np.float32))[:, :2]
    assert_same(read("BF16", (1, 2), top.activations[0].data), np.take_along_axis(wanted, order, 1))
    assert np.frombuffer(top.channels[0].data, np.int32).tolist() == order[0].tolist()
    label = stubs.predict(inference_pb2.PredictRequest(**enters, top_k=1)).predictions[0].labels[0]
    assert (label.index, label.score) == (order[0, 0], float(wanted.max()))
    tensor.data = X[1:].tobytes()
    enters["tensors"] = tensor_pb2.Tensors(tensors=[tensor])
    with pytest.raises(grpc.RpcError, match="'x' holds nan in row 0"):
        stubs.predict(inference_pb2.PredictRequest(**enters, top_k=1))


@ASKS
def test_strings_enter_and_leave_anywhere(stubs: Stubs, ask: Any) -> None:
    text = np.array([["a", "b"], ["\u00e9", ""]], object)
    joined, number = text + SUFFIX, np.array([[1, -1], [2, -1]], np.float32)
    found = ask(stubs, "words", ["number", "joined", "text"], {"text": text})
    for name, value in {"number": number, "joined": joined, "text": text}.items():
        assert_same(found[name], value)
    assert_same(ask(stubs, "words", ["number"], {"joined": joined})["number"], number)


@ASKS
def test_strings_of_another_length_follow_the_same_head(stubs: Stubs, ask: Any) -> None:
    for codes in ([[1, 2]], [[3, 3]], [[2, 9]], [[1, 2]]):
        wanted = np.array([[NAMES.get(code, "x" * 1000) for code in row] for row in codes], object)
        assert_same(ask(stubs, "words", ["name"], {"code": np.array(codes)})["name"], wanted)
    for texts in (["ab", "c"], ["a", "bc"], ["abc", ""]):  # each has the same number of bytes
        text = np.array([texts], object)
        assert_same(ask(stubs, "words", ["joined"], {"text": text})["joined"], text + SUFFIX)


@ASKS
@pytest.mark.parametrize("name", ["words", "brains"])
def test_rows_of_several_requests_run_together_and_each_gets_its_own(stubs: Stubs, ask: Any, name: str) -> None:
    def check(turn: int) -> None:
        rows = turn % 3 + 1
        if name == "words":
            text = np.array([[f"{turn}", "z" * row] for row in range(rows)], object)
            assert_same(ask(stubs, name, ["joined"], {"text": text})["joined"], text + SUFFIX)
        else:
            x = np.full((rows, 3), turn, BFLOAT16)
            assert_same(ask(stubs, name, ["y"], {"x": x})["y"], brains_answer(x)["y"])

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(check, range(64)))


@pytest.mark.parametrize(
    ("shape", "raw", "problem"),
    [
        ((1, 2), pack(b"a", b"b")[:-1], "its string 1 claims 1 bytes, but 0 are left"),
        ((1, 2), pack(b"a") + b"\xff\xff\xff\xff" + b"b", "its string 1 claims 4294967295 bytes, but 1 are left"),
        ((1, 2), pack(b"abcdefgh"), "expected 2 strings, received 1 and 0 bytes"),
        ((1, 2), pack(b"abcd") + b"\0\0", "expected 2 strings, received 1 and 2 bytes"),
        ((1, 2), pack(b"a", b"b", b"c"), "expected 2 strings, received 5 bytes behind them"),
        ((1, 2), pack(b"a"), "expected at least 8 bytes for (1, 2) string, received 5"),
        ((1, 2), b"", "expected at least 8 bytes"),
        ((2**31 - 1, 2**31 - 1), pack(b"a"), "expected at most 1048576 strings, received 4611686014132420609"),
        ((1, 2**20 + 1), pack(b"a"), "expected at most 1048576 strings, received 1048577"),
        ((0, 2), b"", "expected each dimension to be from 1"),
        ((-1, 2), pack(b"a", b"b"), "expected each dimension to be from 1"),
        ((1, 2), pack(b"a", b"\xff\xfe"), "its string 1 is no text: expected UTF-8"),
        ((1, 2), pack(b"\xed\xa0\x80", b"a"), "its string 0 is no text: expected UTF-8"),  # half of a surrogate pair
        ((2,), pack(b"a", b"b"), "'text': expected (-1, 2) string, received (2,) string"),
    ],
)
def test_raw_strings_that_are_none_are_refused(stubs: Stubs, shape: Sequence[int], raw: bytes, problem: str) -> None:
    code, details = refusal(stubs, words_request(shape, raw))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert problem in details
    tensor = tensor_pb2.Tensor(name="text", data_type="DATA_TYPE_STRING", shape=shape, data=raw)
    request = inference_pb2.GetActivationsRequest(
        model=catalog_pb2.ModelReference(name="words"),
        tensors=tensor_pb2.Tensors(tensors=[tensor]),
        layers=["number"],
    )
    with pytest.raises(grpc.RpcError) as caught:
        stubs.activations(request)
    assert (caught.value.code(), caught.value.details()) == (code, details)


@pytest.mark.parametrize(
    ("shape", "contents", "problem"),
    [
        ((1, 2), {"bytes_contents": [b"a"]}, "expected 2 elements for (1, 2) string, received 1"),
        ((1, 2), {"bytes_contents": [b"a", b"\xff"]}, "its string 1 is no text: expected UTF-8"),
        ((1, 2), {"int_contents": [1, 2]}, "expected bytes_contents for BYTES, received ['int_contents']"),
        ((2**20, 2**20), {"bytes_contents": [b"a"]}, "expected 1099511627776 elements"),
    ],
)
def test_typed_strings_that_are_none_are_refused(
    stubs: Stubs, shape: Sequence[int], contents: dict[str, Any], problem: str
) -> None:
    code, details = refusal(stubs, words_request(shape, **contents))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert problem in details


def test_a_type_that_is_not_the_layers_is_refused_by_name(stubs: Stubs) -> None:
    numbers = {"name": "text", "datatype": "FP32", "shape": [1, 2]}
    request = pb.ModelInferRequest(
        model_name="words", inputs=[numbers], outputs=[{"name": "number"}], raw_input_contents=[bytes(8)]
    )
    code, details = refusal(stubs, request)
    assert (code, details) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "model words: 'text': expected (-1, 2) string, received (1, 2) float32",
    )
    request.inputs[0].datatype = "FP8"
    assert "expected a datatype of BOOL, " in refusal(stubs, request)[1]


def test_an_answer_of_strings_that_is_too_large_is_refused_after_the_run(stubs: Stubs) -> None:
    codes = np.full((800, 2), 9)  # a thousand letters each
    with pytest.raises(grpc.RpcError) as caught:
        infer(stubs, "words", ["name"], {"code": codes})
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "expected at most 1048576 bytes, received a request for 1606400" in (caught.value.details() or "")
    assert infer(stubs, "words", ["name"], {"code": codes[:400]})["name"].shape == (400, 2)


def test_strings_that_wait_count_with_the_bytes_that_they_have(tmp_path: Path) -> None:
    write_typed(tmp_path)
    text = np.array([["x" * 10_000, ""]], object)
    # What comes first waits for others to run with, and what comes then has no room beside it.
    with serving(tmp_path, "--queue-bytes", "15000", "--batch-wait-us", "1000000") as server:
        stubs = connect(server.grpc)

        def ask(_: int) -> str:
            try:
                return str(infer(stubs, "words", ["number"], {"text": text})["number"].tolist())
            except grpc.RpcError as error:
                return str(error.details())

        with ThreadPoolExecutor(2) as threads:
            answers = sorted(threads.map(ask, range(2)))
        stubs.channel.close()
    assert answers == [
        "[[-1.0, -1.0]]",
        "model words: expected at most 4096 rows and 15000 bytes to wait, received 1 rows behind 1 of 10008 bytes",
    ]


def test_labels_of_strings_are_refused(tmp_path: Path) -> None:
    encoder = helper.make_node("Identity", ["x"], ["y"])
    named = model([encoder], [info("x", TensorProto.STRING, 2)], [info("y", TensorProto.STRING, 2)])
    write_artifact(tmp_path, "named", model=named, manifest="")
    tensor = tensor_pb2.Tensor(data_type="DATA_TYPE_STRING", shape=(1, 2), data=pack(b"a", b"b"))
    with serving(tmp_path) as server:
        stubs = connect(server.grpc)
        with pytest.raises(grpc.RpcError, match="labels need one default exit of numbers"):
            stubs.predict(inference_pb2.PredictRequest(tensors=tensor_pb2.Tensors(tensors=[tensor]), top_k=1))
        stubs.channel.close()


def test_a_manifest_may_name_strings_and_bfloat16(tmp_path: Path) -> None:
    layers = [
        {"name": "x", "kind": "Input", "shape": [-1, 2], "dataType": "DATA_TYPE_STRING"},
        {"name": "y", "kind": "Encoder", "shape": [-1, 2], "dataType": "DATA_TYPE_BFLOAT16", "defaultExit": True},
    ]
    nodes = [
        helper.make_node("LabelEncoder", ["x"], ["z"], domain="ai.onnx.ml", keys_strings=["a"], values_floats=[1.0]),
        helper.make_node("Cast", ["z"], ["y"], to=TensorProto.BFLOAT16),
    ]
    named = model(nodes, [info("x", TensorProto.STRING, 2)], [info("y", TensorProto.BFLOAT16, 2)])
    write_artifact(tmp_path, "named", model=named, manifest={"format": 1, "inputs": ["x"], "layers": layers})
    with serving(tmp_path) as server:
        stubs = connect(server.grpc)
        found = infer(stubs, "named", ["y"], {"x": np.array([["a", "b"]], object)})["y"]
        stubs.channel.close()
    assert found.astype(np.float32).tolist() == [[1, 0]]


def test_large_bfloat16_weights_are_taken_as_they_are(tmp_path: Path) -> None:
    weights = np.arange(2048).astype(BFLOAT16).reshape(1024, 2)
    nodes = [helper.make_node("Gather", ["w", "x"], ["row"]), helper.make_node("Flatten", ["row"], ["y"])]
    inputs, outputs = [info("x", TensorProto.INT64, 2)], [info("y", TensorProto.BFLOAT16, 4)]
    table = model(nodes, inputs, outputs, [helper.make_tensor("w", TensorProto.BFLOAT16, weights.shape, weights)])
    write_artifact(tmp_path, "table", model=table, manifest="")
    with serving(tmp_path) as server:
        stubs = connect(server.grpc)
        found = infer(stubs, "table", ["y"], {"x": np.array([[3, 1000]])})["y"]
        stubs.channel.close()
    assert_same(found, weights[[3, 1000]].reshape(1, 4))


def test_strings_that_a_network_makes_and_that_are_no_text_are_named(tmp_path: Path) -> None:
    weights = [numpy_helper.from_array(np.array(b"\xff", object), "bad")]
    nodes = [
        helper.make_node("StringConcat", ["x", "bad"], ["broken"]),
        helper.make_node("Equal", ["x", "broken"], ["y"]),
    ]
    odd = model(nodes, [info("x", TensorProto.STRING, 2)], [info("y", TensorProto.BOOL, 2)], weights)
    write_artifact(tmp_path, "odd", model=odd, manifest="")
    with serving(tmp_path) as server:
        stubs = connect(server.grpc)
        x = np.array([["a", "b"]], object)
        assert infer(stubs, "odd", ["y"], {"x": x})["y"].tolist() == [[False, False]]
        with pytest.raises(grpc.RpcError) as caught:
            infer(stubs, "odd", ["broken"], {"x": x})
        stubs.channel.close()
    assert (caught.value.code(), caught.value.details()) == (
        grpc.StatusCode.UNIMPLEMENTED,
        "model odd: 'broken' came out as strings that are no UTF-8",
    )


@pytest.mark.parametrize("kind", [TensorProto.FLOAT8E4M3FN, TensorProto.COMPLEX64, "sequence"])
def test_inputs_of_other_types_are_refused_with_the_reason(tmp_path: Path, kind: int | str) -> None:
    described = (
        helper.make_tensor_sequence_value_info("odd", TensorProto.FLOAT, None)
        if kind == "sequence"
        else onnx.helper.make_tensor_value_info("odd", int(kind), [1])
    )
    nodes = [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("Identity", ["odd"], ["z"])]
    ends = [info(name, TensorProto.FLOAT, 2) for name in ("x", "y")]
    write_artifact(tmp_path, "odd", model=model(nodes, [ends[0], described], ends[1:]), manifest="")
    write_artifact(tmp_path, "tiny")
    with serving(tmp_path) as server:
        assert server.models == "tiny:1"
    assert (
        "its inputs 'odd' are no tensors of a type that can be sent; expected numbers, booleans or strings"
        in server.log
    )
