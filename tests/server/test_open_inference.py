import numpy as np
import numpy.typing as npt
from artifacts import assert_close, tiny_answer
from strata_server.rpc.open_inference import open_inference_pb2
from wire import Stubs

SERVICE = "/inference.GRPCInferenceService"
Floats = npt.NDArray[np.float32]


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


def test_the_server_claims_no_extension_that_it_does_not_serve(stubs: Stubs) -> None:
    body = stubs.call(f"{SERVICE}/ServerMetadata", b"")
    metadata = open_inference_pb2.ServerMetadataResponse.FromString(body)
    assert metadata.name == "strata"
    assert not metadata.extensions
