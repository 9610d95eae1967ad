from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from artifacts import assert_close, tiny_answer, tiny_model, write_artifact
from open_inference import call, refusal_of, write_parameters, write_request
from processes import serving
from strata_server.rpc.open_inference import open_inference_pb2
from wire import WAIT_S, Stubs, connect

SERVICE = "/inference.GRPCInferenceService"
Floats = npt.NDArray[np.float32]
FP32 = 11  # of the model configuration's enumeration


def image_tensor(image: Floats, **fields: object) -> dict[str, object]:
    return {"name": "image", "datatype": "FP32", "shape": image.shape, **fields}


def test_raw_contents_are_answered_raw_in_the_order_asked(stubs: Stubs, image: Floats) -> None:
    request = open_inference_pb2.ModelInferRequest(
        model_name="tiny",
        id="41",
        inputs=[image_tensor(image)],
        outputs=[{"name": "scores"}, {"name": "double"}],
        raw_input_contents=[image.tobytes()],
    )
    answer = stubs.infer(request)
    assert (answer.model_name, answer.model_version, answer.id) == ("tiny", "12", "41")
    assert [(output.name, output.datatype) for output in answer.outputs] == [
        ("scores", "FP32"),
        ("double", "FP32"),
    ]
    for output, raw in zip(answer.outputs, answer.raw_output_contents, strict=True):
        value = np.frombuffer(raw, np.float32).reshape(output.shape)
        assert_close(value, tiny_answer(image)[output.name])


def test_typed_contents_are_answered_typed(stubs: Stubs, image: Floats) -> None:
    contents = {"fp32_contents": image.ravel().tolist()}
    request = open_inference_pb2.ModelInferRequest(model_name="tiny", inputs=[image_tensor(image, contents=contents)])
    answer = stubs.infer(request)
    assert [output.name for output in answer.outputs] == ["predictions"]
    assert not answer.raw_output_contents
    value = np.reshape(answer.outputs[0].contents.fp32_contents, answer.outputs[0].shape)
    assert_close(value, tiny_answer(image)["predictions"])


def test_an_unknown_model_is_not_ready_and_a_known_one_is(stubs: Stubs) -> None:
    ready = {}
    for name, version in (("tiny", ""), ("tiny", "1"), ("tiny", "2"), ("other", "")):
        request = open_inference_pb2.ModelReadyRequest(name=name, version=version)
        body = stubs.call(f"{SERVICE}/ModelReady", request.SerializeToString())
        ready[name, version] = open_inference_pb2.ModelReadyResponse.FromString(body).ready
    assert ready == {("tiny", ""): True, ("tiny", "1"): True, ("tiny", "2"): False, ("other", ""): False}


def test_metadata_lists_inputs_and_default_outputs_and_all_versions(stubs: Stubs) -> None:
    request = open_inference_pb2.ModelMetadataRequest(name="tiny")
    body = stubs.call(f"{SERVICE}/ModelMetadata", request.SerializeToString())
    model = open_inference_pb2.ModelMetadataResponse.FromString(body)
    assert list(model.versions) == ["1", "12"]
    assert [(t.name, t.datatype, list(t.shape)) for t in model.inputs] == [("image", "FP32", [-1, 4, 4, 1])]
    assert [(t.name, t.datatype, list(t.shape)) for t in model.outputs] == [("predictions", "FP32", [-1, 3])]


def test_the_server_claims_the_extensions_that_it_serves(stubs: Stubs) -> None:
    body = stubs.call(f"{SERVICE}/ServerMetadata", b"")
    metadata = open_inference_pb2.ServerMetadataResponse.FromString(body)
    assert metadata.name == "strata"
    assert set(metadata.extensions) >= {"classification", "model_configuration", "schedule_policy", "trace", "layers"}
    assert not {"sequence", "cuda_shared_memory", "system_shared_memory"} & set(metadata.extensions)


def test_shared_memory_is_claimed_where_it_is_allowed(tmp_path: Path) -> None:
    write_artifact(tmp_path)
    with serving(tmp_path, "--allow-shared-memory") as server:
        stubs = connect(server.grpc)
        body = stubs.call(f"{SERVICE}/ServerMetadata", b"")
        stubs.channel.close()
    assert "system_shared_memory" in open_inference_pb2.ServerMetadataResponse.FromString(body).extensions


@pytest.mark.parametrize("parameter", ["sequence_id", "sequence_start", "sequence_end"])
def test_sequences_are_unimplemented_and_named(stubs: Stubs, image: Floats, parameter: str) -> None:
    request = write_request(image, parameters=write_parameters({parameter: 1}))
    code, details = refusal_of(stubs.infer, request)
    assert code is grpc.StatusCode.UNIMPLEMENTED
    assert parameter in details


def describe(stubs: Stubs, model: str) -> Any:
    request = open_inference_pb2.ModelConfigRequest(name=model)
    return call(stubs, "ModelConfig", request, open_inference_pb2.ModelConfigResponse).config


def test_a_configuration_says_how_rows_run_together(stubs: Stubs) -> None:
    config = describe(stubs, "tiny")
    assert (config.name, config.platform, config.backend) == ("tiny", "onnxruntime_onnx", "onnxruntime")
    assert config.max_batch_size >= 1
    assert config.HasField("dynamic_batching")
    assert [(each.name, each.data_type, list(each.dims)) for each in config.input] == [("image", FP32, [4, 4, 1])]
    assert [(each.name, each.data_type, list(each.dims)) for each in config.output] == [("predictions", FP32, [3])]
    assert [group.count for group in config.instance_group] == [1]
    assert config.parameters["layers"].string_value == "5"
    assert config.parameters["layers_catalog"].string_value == "strata.v1.CatalogService/DescribeModel"
    assert config.version_policy.HasField("all")


def test_a_configuration_follows_the_models_folder_and_a_fixed_batch_has_no_batch(tmp_path: Path) -> None:
    model = tiny_model()
    for tensor in (*model.graph.input, *model.graph.output):
        tensor.type.tensor_type.shape.dim[0].Clear()
        tensor.type.tensor_type.shape.dim[0].dim_value = 2
    path = write_artifact(tmp_path, "fixed", model=model, manifest="")
    (path.parent.parent / "strata.toml").write_text('[versions]\nlatest = 1\n[parameters]\nowner = "vision"\n')
    with serving(tmp_path) as server:
        stubs = connect(server.grpc)
        config = describe(stubs, "fixed")
        stubs.channel.close()
    assert config.max_batch_size == 0
    assert not config.HasField("dynamic_batching")
    assert [list(each.dims) for each in config.input] == [[2, 4, 4, 1]]
    assert config.version_policy.latest.num_versions == 1
    assert config.parameters["owner"].string_value == "vision"


def test_a_stream_marks_the_last_response_of_each_request_where_that_is_asked(stubs: Stubs, image: Floats) -> None:
    marked = write_parameters({"triton_enable_empty_final_response": True})
    requests = [
        write_request(image, id="marked", parameters=marked),
        write_request(image, id="plain"),
        write_request(image, {"nothing": {}}, id="failed", parameters=marked),
    ]
    method: Any = stubs.channel.stream_stream(f"{SERVICE}/ModelStreamInfer")
    bodies = method(iter([request.SerializeToString() for request in requests]), timeout=WAIT_S)
    answers = [open_inference_pb2.ModelStreamInferResponse.FromString(body).infer_response for body in bodies]
    marks = {
        answer.id: answer.parameters["triton_final_response"].bool_param
        for answer in answers
        if "triton_final_response" in answer.parameters
    }
    assert marks == {"marked": True, "failed": True}
    assert {answer.id for answer in answers} == {"marked", "plain", "failed"}
