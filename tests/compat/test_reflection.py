"""What grpcurl does: learn the services by reflection alone, then call them with JSON."""

import base64
import json
from typing import Any

import grpc
import pytest
from conftest import Digits
from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from processes import ServerProcess


@pytest.fixture
def channel(server: ServerProcess) -> Any:
    with grpc.insecure_channel(server.grpc) as channel:
        yield channel


def call(channel: grpc.Channel, path: str, request: dict[str, Any]) -> Any:
    """Call SERVICE/METHOD with JSON, knowing nothing but what reflection tells."""
    service, name = path.split("/")
    method = DescriptorPool(ProtoReflectionDescriptorDatabase(channel)).FindServiceByName(service).methods_by_name[name]
    message = json_format.ParseDict(request, GetMessageClass(method.input_type)())
    rpc: Any = channel.unary_unary(f"/{path}")
    answer = GetMessageClass(method.output_type).FromString(rpc(message.SerializeToString(), timeout=20))
    return json.loads(json_format.MessageToJson(answer))


def test_every_service_is_listed(channel: grpc.Channel) -> None:
    assert sorted(ProtoReflectionDescriptorDatabase(channel).get_services()) == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        "inference.GRPCInferenceService",
        "strata.v1.CatalogService",
        "strata.v1.InferenceService",
        "strata.v1.RepositoryService",
    ]


def test_a_picture_is_predicted_from_json(channel: grpc.Channel, digits: Digits) -> None:
    encoded = base64.b64encode(digits.sample(7).read_bytes()).decode()
    request = {"images": {"encoded": [encoded]}, "topK": 1}
    answer = call(channel, "strata.v1.InferenceService/Predict", request)
    assert answer["predictions"][0]["labels"][0]["name"] == "7"
    assert answer["model"] == {"name": "digits", "version": "1"}


def test_typed_contents_work_over_the_open_inference_protocol(channel: grpc.Channel) -> None:
    tensor = {
        "name": "image",
        "datatype": "FP32",
        "shape": ["1", "28", "28", "1"],
        "contents": {"fp32Contents": [0.0] * 784},
    }
    answer = call(channel, "inference.GRPCInferenceService/ModelInfer", {"modelName": "digits", "inputs": [tensor]})
    assert sum(answer["outputs"][0]["contents"]["fp32Contents"]) == pytest.approx(1, abs=1e-5)


def test_the_health_service_is_reflected_too(channel: grpc.Channel) -> None:
    assert call(channel, "grpc.health.v1.Health/Check", {}) == {"status": "SERVING"}
