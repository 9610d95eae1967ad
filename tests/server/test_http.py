"""The Open Inference Protocol over HTTP: what is asked in JSON and in bytes, and what is answered."""

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import onnx
import pytest
from artifacts import SIDE, assert_close, tiny_answer, write_artifact
from onnx import TensorProto, helper
from processes import ServerProcess, serving

Image = npt.NDArray[np.float32]
JSON_LENGTH = "Inference-Header-Content-Length"


@pytest.fixture(scope="module")
def http(tiny: ServerProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=tiny.http, timeout=20) as client:
        yield client


def describe(image: Image, **more: Any) -> dict[str, Any]:
    return {"name": "image", "shape": list(image.shape), "datatype": "FP32", **more}


def infer(http: httpx.Client, image: Image, *outputs: Any, **members: Any) -> httpx.Response:
    given = describe(image, data=image.ravel().tolist())
    body = {"inputs": [given], **({"outputs": list(outputs)} if outputs else {}), **members}
    return http.post("/v2/models/tiny/infer", json=body)


def infer_binary(http: httpx.Client, image: Image, body: dict[str, Any], **headers: str) -> httpx.Response:
    head = json.dumps(body).encode()
    content = head + image.tobytes()
    return http.post("/v2/models/tiny/infer", content=content, headers={JSON_LENGTH: str(len(head)), **headers})


def read_outputs(answer: httpx.Response) -> dict[str, npt.NDArray[Any]]:
    """Return the outputs of an answer, wherever they are in it."""
    assert answer.status_code == 200, answer.text
    length = int(answer.headers.get(JSON_LENGTH, len(answer.content)))
    place, outputs = length, {}
    for output in json.loads(answer.content[:length])["outputs"]:
        assert output["datatype"] == "FP32"
        size = output.get("parameters", {}).get("binary_data_size")
        if size is None:
            array = np.array(output["data"], np.float32)
        else:
            array = np.frombuffer(answer.content[place : place + size], np.float32)
            place += size
        outputs[output["name"]] = array.reshape(output["shape"])
    assert place == len(answer.content)
    return outputs


def test_numbers_in_json_come_back_in_json(http: httpx.Client, image: Image) -> None:
    answer = infer(http, image, {"name": "scores"}, {"name": "double"}, id="a1")
    expected = tiny_answer(image)
    outputs = read_outputs(answer)
    assert list(outputs) == ["scores", "double"]
    assert_close(outputs["scores"], expected["scores"])
    np.testing.assert_array_equal(outputs["double"], expected["double"])  # JSON loses no bit of a float32
    assert answer.headers["content-type"] == "application/json"
    assert JSON_LENGTH not in answer.headers
    assert (answer.json()["model_name"], answer.json()["model_version"], answer.json()["id"]) == ("tiny", "12", "a1")


def test_no_outputs_asked_means_the_prediction(http: httpx.Client, image: Image) -> None:
    outputs = read_outputs(infer(http, image))
    assert list(outputs) == ["predictions"]
    assert_close(outputs["predictions"], tiny_answer(image)["predictions"])


def test_a_version_may_be_named(http: httpx.Client, image: Image) -> None:
    body = {"inputs": [describe(image, data=image.tolist())]}
    answer = http.post("/v2/models/tiny/versions/1/infer", json=body)
    assert answer.json()["model_version"] == "1"
    assert_close(read_outputs(answer)["predictions"], tiny_answer(image)["predictions"])


def test_a_request_may_enter_and_leave_anywhere(http: httpx.Client, image: Image) -> None:
    flat = tiny_answer(image)["flat"]
    given = {"name": "flat", "shape": list(flat.shape), "datatype": "FP32", "data": flat.tolist()}
    answer = http.post("/v2/models/tiny/infer", json={"inputs": [given], "outputs": [{"name": "scores"}]})
    assert_close(read_outputs(answer)["scores"], tiny_answer(image)["scores"])


@pytest.mark.parametrize("in_binary", [False, True])
def test_binary_tensors_stand_behind_the_json(http: httpx.Client, image: Image, *, in_binary: bool) -> None:
    outputs = [{"name": "scores"}, {"name": "flat", "parameters": {"binary_data": not in_binary}}]
    body = {
        "inputs": [describe(image, parameters={"binary_data_size": image.nbytes})],
        "outputs": outputs,
        "parameters": {"binary_data_output": in_binary},
    }
    answer = infer_binary(http, image, body)
    expected = tiny_answer(image)
    found = read_outputs(answer)
    assert_close(found["scores"], expected["scores"])
    np.testing.assert_array_equal(found["flat"], expected["flat"])
    assert answer.headers["content-type"] == "application/octet-stream"
    described = json.loads(answer.content[: int(answer.headers[JSON_LENGTH])])["outputs"]
    assert ["data" in each for each in described] == [not in_binary, in_binary]


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_bodies_may_be_compressed_both_ways(http: httpx.Client, image: Image, coding: str) -> None:
    image = np.repeat(image, 64, axis=0)
    compress: Callable[[bytes], bytes] = zlib.compress if coding == "deflate" else gzip.compress
    head = json.dumps({"inputs": [describe(image, parameters={"binary_data_size": image.nbytes})]}).encode()
    headers = {JSON_LENGTH: str(len(head)), "content-encoding": coding, "accept-encoding": coding}
    answer = http.post("/v2/models/tiny/infer", content=compress(head + image.tobytes()), headers=headers)
    assert answer.headers["content-encoding"] == coding
    assert_close(read_outputs(answer)["predictions"], tiny_answer(image)["predictions"])


def test_an_answer_is_compressed_only_where_one_way_is_named(http: httpx.Client, image: Image) -> None:
    image = np.repeat(image, 64, axis=0)
    assert "content-encoding" not in infer(http, image).headers  # httpx names all that it knows


def test_large_tensors_come_and_go(tmp_path: Path) -> None:
    write_artifact(tmp_path)
    image = np.random.default_rng(2).random((40_000, SIDE, SIDE, 1), np.float32)
    with serving(tmp_path) as server, httpx.Client(base_url=server.http, timeout=60) as http:
        body = {
            "inputs": [describe(image, parameters={"binary_data_size": image.nbytes})],
            "outputs": [{"name": "double"}, {"name": "scores"}],
            "parameters": {"binary_data_output": True},
        }
        found = read_outputs(infer_binary(http, image, body))
        np.testing.assert_array_equal(found["double"], 2 * image)
        found = read_outputs(infer(http, image, {"name": "double"}))
        np.testing.assert_array_equal(found["double"], 2 * image)


GOOD = {"name": "image", "shape": [1, SIDE, SIDE, 1], "datatype": "FP32", "data": [0.5] * 16}
NESTED = [[[[0.5]] * SIDE] * SIDE]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ([], "the body: expected an object, received a list"),
        ({"inputs": GOOD}, "'inputs': expected a list, received an object"),
        ({"input": [GOOD]}, "expected members of id, parameters, inputs, outputs"),
        ({"inputs": ["image"]}, "an input: expected an object, received 'image'"),
        ({"inputs": [{**GOOD, "name": 7}]}, "the name of an input: expected a string, received 7"),
        ({"inputs": [{**GOOD, "shape": "all"}]}, "expected shape to be a list of whole numbers, received 'all'"),
        ({"inputs": [{**GOOD, "shape": [1, 4.0, 4, 1]}]}, "expected shape to be a list of whole numbers"),
        (
            {"inputs": [{**GOOD, "shape": [-1, 4, 4, 1]}]},
            "expected each dimension to be from 1 to 2147483647, received shape (-1, 4, 4, 1)",
        ),
        ({"inputs": [{**GOOD, "shape": [2**62] * 16}]}, "expected each dimension to be from 1 to 2147483647"),
        ({"inputs": [{**GOOD, "shape": [1] * 17}]}, "expected at most 16 dimensions"),
        ({"inputs": [{**GOOD, "datatype": "FLOAT"}]}, "expected a datatype of BOOL"),
        ({"inputs": [{**GOOD, "datatype": "FP16"}]}, "FP16 travels as binary data only"),
        ({"inputs": [{**GOOD, "datatype": "INT64"}]}, "expected data of whole numbers, received a number"),
        ({"inputs": [{**GOOD, "datatype": "INT32", "data": [1] * 16}]}, "expected (-1, 4, 4, 1) float32"),
        ({"inputs": [{**GOOD, "data": [0.5] * 15}]}, "expected 16 elements"),
        ({"inputs": [{**GOOD, "data": 0.5}]}, "expected data to be a list, received a number"),
        ({"inputs": [{**GOOD, "data": [None] * 16}]}, "expected data of numbers, received null among them"),
        ({"inputs": [{**GOOD, "data": [True] * 16}]}, "expected data of numbers, received a boolean among them"),
        ({"inputs": [{**GOOD, "data": [1e39] * 16}]}, "expected values of FP32, received one that does not fit"),
        ({"inputs": [{**GOOD, "data": [[0.5, 0.5], [0.5]]}]}, "expected data that is flat or nested as [1, 4, 4, 1]"),
        ({"inputs": [{**GOOD, "data": [[0.5] * 8] * 2}]}, "flat or nested as [1, 4, 4, 1], received [2, 8]"),
        ({"inputs": [{**GOOD, "data": [NESTED]}]}, "expected data that is flat or nested as [1, 4, 4, 1]"),
        ({"inputs": [{**GOOD, "values": []}]}, "expected members of name, shape, datatype, parameters, data"),
        ({"inputs": [{**GOOD, "parameters": {"binary_data_size": 64}}]}, "received data and binary_data_size"),
        ({"inputs": [{k: v for k, v in GOOD.items() if k != "data"}]}, "received none"),
        (
            {"inputs": [GOOD], "outputs": [{"name": "scores", "parameters": {"binary_data": 1}}]},
            "expected true or false",
        ),
        ({"inputs": [GOOD], "outputs": [{"name": "scores", "parameters": {"x": []}}]}, "received a list"),
        ({"inputs": [GOOD], "parameters": {"timeout": -1}}, "expected a whole number from 0 up"),
        ({"inputs": [GOOD], "id": 7}, "'id': expected a string, received 7"),
        ({"inputs": [GOOD], "id": 0}, "'id': expected a string, received 0"),
        ({"inputs": [GOOD], "id": False}, "'id': expected a string, received false"),
        ({"inputs": [GOOD], "id": []}, "'id': expected a string, received a list"),
        ({"inputs": [GOOD], "model_name": "other"}, "'model_name': expected what the path says, 'tiny'; received 'oth"),
        ({"inputs": [GOOD], "model_name": 7}, "'model_name': expected a string, received 7"),
        ({"inputs": [GOOD], "model_version": "1"}, "'model_version': expected what the path says, ''; received '1'"),
        ({"inputs": [GOOD, GOOD]}, "received one of them twice"),
        ({"inputs": []}, "image"),
        ({}, "image"),
    ],
)
def test_a_request_that_cannot_be_meant_is_told_why(http: httpx.Client, body: Any, reason: str) -> None:
    answer = http.post("/v2/models/tiny/infer", json=body)
    assert answer.status_code == 400
    assert reason in answer.json()["error"]
    assert http.post("/v2/models/tiny/infer", json={"inputs": [GOOD]}).status_code == 200


def test_a_body_may_repeat_the_model_and_version_of_the_path(http: httpx.Client) -> None:
    body = {"inputs": [GOOD], "model_name": "tiny", "model_version": "1", "id": None}
    assert http.post("/v2/models/tiny/versions/1/infer", json=body).json()["model_version"] == "1"


def test_elements_may_be_nested_as_the_shape_says(http: httpx.Client) -> None:
    body = {"inputs": [{**GOOD, "data": NESTED}], "outputs": [{"name": "double"}]}
    assert http.post("/v2/models/tiny/infer", json=body).json()["outputs"][0]["data"] == [1.0] * 16


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "expected JSON, received 0 bytes"),
        (b"{", "expected JSON, received 1 bytes that are none"),
        (b"\xff\xfe", "expected JSON, received 2 bytes that are none"),
        (b'{"inputs": [NaN]}', "expected JSON"),
        (b"[" * 100_000, "depth limit exceeded"),
        (b'{"inputs":' * 2000 + b"1" + b"}" * 2000, "depth limit exceeded"),
        (
            b'{"inputs": [{"name": "image", "shape": [1], "datatype": "FP32", "data": %s}]}'
            % (b"[" * 900 + b"]" * 900),
            "flat or nested",
        ),
    ],
)
def test_what_is_no_json_or_too_deep_is_refused(http: httpx.Client, text: bytes, reason: str) -> None:
    answer = http.post("/v2/models/tiny/infer", content=text)
    assert answer.status_code == 400
    assert reason in answer.json()["error"]


@pytest.mark.parametrize("length", ["0", "-1", "x", "9" * 30, "100000", "1.5", "1 1"])
def test_a_wrong_length_of_the_json_is_refused(http: httpx.Client, length: str) -> None:
    body = json.dumps({"inputs": [GOOD]}).encode()
    answer = http.post("/v2/models/tiny/infer", content=body, headers={JSON_LENGTH: length})
    assert answer.status_code == 400
    assert JSON_LENGTH in answer.json()["error"]


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        (127, "received 1 more"),
        (129, "a number of bytes up to 128"),
        (-1, "a number of bytes up to 128"),
        ("128", "received '128'"),
        (2**70, "a number of bytes up to 128"),
    ],
)
def test_a_wrong_size_of_a_binary_tensor_is_refused(http: httpx.Client, image: Image, size: Any, reason: str) -> None:
    answer = infer_binary(http, image, {"inputs": [describe(image, parameters={"binary_data_size": size})]})
    assert answer.status_code == 400
    assert reason in answer.json()["error"]


def test_what_is_not_a_number_comes_back_in_binary_only(http: httpx.Client, image: Image) -> None:
    image[0, 0, 0, 0] = np.nan
    body = {
        "inputs": [describe(image, parameters={"binary_data_size": image.nbytes})],
        "outputs": [{"name": "double", "parameters": {"binary_data": True}}],
    }
    assert np.isnan(read_outputs(infer_binary(http, image, body))["double"]).sum() == 1
    del body["outputs"][0]["parameters"]
    answer = infer_binary(http, image, body)
    assert answer.status_code == 400
    assert "'double' holds NaN or infinity, which JSON has not; ask for it with binary_data: true" in answer.text


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        ("/v2/models/tinny/infer", 404, "nearest: 'tiny'"),
        ("/v2/models/tiny/versions/9/infer", 404, "9"),
        ("/v2/models/%3Cscript%3E/infer", 404, "<script>"),
        ("/v2/models/tiny/ready", 405, "expected the method GET, received 'POST'"),
        ("/v2/models/tiny/infers", 404, "unknown path '/v2/models/tiny/infers'; /docs lists"),
        ("/v2/", 404, "unknown path"),
    ],
)
def test_an_unknown_name_path_or_method_is_told(http: httpx.Client, path: str, status: int, reason: str) -> None:
    answer = http.post(path, json={"inputs": [GOOD]})
    assert answer.status_code == status
    assert reason in answer.json()["error"]
    assert answer.headers["content-type"] == "application/json"


def test_a_wrong_method_is_told_which_there_are(http: httpx.Client) -> None:
    assert http.delete("/v2/logging").headers["allow"] == "GET, POST"
    assert http.put("/healthz").status_code == 405


def test_a_layer_that_there_is_not_is_not_found(http: httpx.Client, image: Image) -> None:
    answer = infer(http, image, {"name": "score"})
    assert answer.status_code == 404
    assert "nearest: 'scores'" in answer.json()["error"]


def test_a_deadline_that_is_over_is_504_or_refused_before(http: httpx.Client, image: Image) -> None:
    answer = infer(http, image, parameters={"timeout": 1})
    assert answer.status_code in {429, 504}
    assert ("retry-after" in answer.headers) is (answer.status_code == 429)


def test_health_and_metadata_are_what_both_protocols_say(http: httpx.Client) -> None:
    assert http.get("/v2/health/live").json() == {"live": True}
    assert http.get("/v2/health/ready").json() == {"ready": True}
    assert http.get("/v2").json()["name"] == "strata"
    assert http.get("/v2/models/tiny/versions/1/ready").json() == {"ready": True}
    assert http.get("/v2/models/tiny/versions/2/ready").status_code == 503
    metadata = http.get("/v2/models/tiny").json()
    assert metadata["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, SIDE, SIDE, 1]}]
    assert metadata["versions"] == ["1", "12"]
    assert http.head("/v2").status_code == 200


@pytest.mark.parametrize(
    ("datatype", "values"),
    [
        ("BOOL", [True, False, True]),
        ("UINT8", [0, 255]),
        ("UINT16", [0, 65535]),
        ("UINT32", [0, 2**32 - 1]),
        ("UINT64", [0, 2**64 - 1]),
        ("INT8", [-128, 127]),
        ("INT16", [-(2**15), 2**15 - 1]),
        ("INT32", [-(2**31), 2**31 - 1]),
        ("INT64", [-(2**63), 2**63 - 1]),
        ("FP32", [1.5, -0.375]),
        ("FP64", [0.1, 5e-324]),
        ("BYTES", ["", "one", "z\u00fcnd <b>"]),
    ],
)
def test_every_type_of_json_comes_back_as_it_went(echo: httpx.Client, datatype: str, values: Any) -> None:
    given = {"name": "in", "shape": [1, len(values)], "datatype": datatype, "data": values}
    body = {"inputs": [given], "outputs": [{"name": "out"}]}
    answer = echo.post(f"/v2/models/{datatype.lower()}/infer", json=body)
    assert answer.status_code == 200, answer.text
    output = answer.json()["outputs"][0]
    assert (output["datatype"], output["shape"], output["data"]) == (datatype, [1, len(values)], values)


@pytest.mark.parametrize(("datatype", "value"), [("UINT8", 256), ("UINT8", -1), ("INT64", 2**63), ("INT16", 1e3)])
def test_a_number_that_a_type_has_not_is_refused(echo: httpx.Client, datatype: str, value: Any) -> None:
    given = {"name": "in", "shape": [1, 1], "datatype": datatype, "data": [value]}
    answer = echo.post(f"/v2/models/{datatype.lower()}/infer", json={"inputs": [given]})
    assert answer.status_code == 400
    assert datatype in answer.json()["error"] or "whole numbers" in answer.json()["error"]


@pytest.mark.parametrize(
    ("datatype", "raw"),
    [
        ("FP16", np.array([[1.5, 65504]], np.float16).tobytes()),
        ("BF16", bytes([0xC0, 0x3F, 0x80, 0x7F])),
    ],
)
def test_what_json_has_no_form_for_comes_and_goes_in_binary(echo: httpx.Client, datatype: str, raw: bytes) -> None:
    given = {"name": "in", "shape": [1, 2], "datatype": datatype, "parameters": {"binary_data_size": len(raw)}}
    body: dict[str, Any] = {"inputs": [given], "outputs": [{"name": "out", "parameters": {"binary_data": True}}]}
    url = f"/v2/models/{datatype.lower()}/infer"

    def ask() -> httpx.Response:
        head = json.dumps(body).encode()
        return echo.post(url, content=head + raw, headers={JSON_LENGTH: str(len(head))})

    answer = ask()
    assert answer.status_code == 200, answer.text
    assert answer.content[int(answer.headers[JSON_LENGTH]) :] == raw
    del body["outputs"]
    refused = ask()
    assert refused.status_code == 400
    assert "ask for it with binary_data: true" in refused.json()["error"]


def test_strings_come_and_go_in_binary_with_their_lengths(echo: httpx.Client) -> None:
    raw = b"\x02\x00\x00\x00\xc3\xbc\x00\x00\x00\x00"
    given = {"name": "in", "shape": [1, 2], "datatype": "BYTES", "parameters": {"binary_data_size": len(raw)}}
    head = json.dumps({"inputs": [given], "parameters": {"binary_data_output": True}}).encode()
    headers = {JSON_LENGTH: str(len(head))}
    answer = echo.post("/v2/models/bytes/infer", content=head + raw, headers=headers)
    assert answer.content[int(answer.headers[JSON_LENGTH]) :] == raw
    refused = echo.post("/v2/models/bytes/infer", content=head + raw.replace(b"\xc3\xbc", b"\xff\xfe"), headers=headers)
    assert refused.status_code == 400
    assert "expected UTF-8" in refused.json()["error"]


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Serve a model for each type, which answers what it was sent."""
    models = tmp_path_factory.mktemp("echo") / "models"
    for name, kind in (
        ("bool", TensorProto.BOOL),
        ("uint8", TensorProto.UINT8),
        ("uint16", TensorProto.UINT16),
        ("uint32", TensorProto.UINT32),
        ("uint64", TensorProto.UINT64),
        ("int8", TensorProto.INT8),
        ("int16", TensorProto.INT16),
        ("int32", TensorProto.INT32),
        ("int64", TensorProto.INT64),
        ("fp32", TensorProto.FLOAT),
        ("fp64", TensorProto.DOUBLE),
        ("bytes", TensorProto.STRING),
        ("fp16", TensorProto.FLOAT16),
        ("bf16", TensorProto.BFLOAT16),
    ):
        write_artifact(models, name, model=echo_model(kind), manifest="")
    with serving(models) as server, httpx.Client(base_url=server.http, timeout=20) as client:
        yield client


def echo_model(kind: int) -> onnx.ModelProto:
    ends = [helper.make_tensor_value_info(name, kind, ["batch", "length"]) for name in ("in", "out")]
    graph = helper.make_graph([helper.make_node("Identity", ["in"], ["out"])], "echo", ends[:1], ends[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
