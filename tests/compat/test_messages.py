"""Every message of ours is one that tritonclient has, field by field: what one side writes, the other reads."""

from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from strata_server.configuration import model_config_pb2
from strata_server.rpc.open_inference import open_inference_pb2
from tritonclient.grpc import model_config_pb2 as triton_config
from tritonclient.grpc import service_pb2 as triton_service

# KServe's clients read these in the answers to a load and an unload; Triton's have no fields there.
KSERVE = {
    "RepositoryModelLoadResponse": {"model_name": 1, "isLoaded": 2},
    "RepositoryModelUnloadResponse": {"model_name": 1, "isUnloaded": 2},
}
FILES = {"service": (open_inference_pb2, triton_service), "configuration": (model_config_pb2, triton_config)}


def flatten(messages: Any) -> dict[str, Descriptor]:
    found = {}
    for message in messages:
        found[message.full_name] = message
        found.update(flatten(message.nested_types))
    return found


def enums_of(file: Any) -> dict[str, EnumDescriptor]:
    nested = [each for message in flatten(file.message_types_by_name.values()).values() for each in message.enum_types]
    return {each.full_name: each for each in (*file.enum_types_by_name.values(), *nested)}


def shape_of(field: FieldDescriptor) -> tuple[object, ...]:
    kind = field.message_type or field.enum_type
    return field.name, field.number, field.type, field.is_repeated, kind.full_name if kind else ""


@pytest.mark.parametrize("name", FILES)
def test_each_field_has_the_number_and_type_that_tritonclient_knows(name: str) -> None:
    ours, theirs = (module.DESCRIPTOR for module in FILES[name])
    known = flatten(theirs.message_types_by_name.values())
    messages = flatten(ours.message_types_by_name.values())
    assert messages
    for full_name, message in messages.items():
        expected = {shape_of(field) for field in known[full_name].fields}
        for field in message.fields:
            if KSERVE.get(message.name, {}).get(field.name) == field.number:
                continue
            assert shape_of(field) in expected, f"{full_name}.{field.name}"


@pytest.mark.parametrize("name", FILES)
def test_each_value_of_an_enumeration_has_the_number_that_tritonclient_knows(name: str) -> None:
    ours, theirs = (module.DESCRIPTOR for module in FILES[name])
    known = enums_of(theirs)
    for full_name, enum in enums_of(ours).items():
        values = {value.name: value.number for value in known[full_name].values}
        assert {value.name: value.number for value in enum.values}.items() <= values.items()


def test_each_rpc_that_tritonclient_calls_is_there_with_the_same_messages() -> None:
    (theirs,) = triton_service.DESCRIPTOR.services_by_name.values()
    ours = open_inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    assert ours.full_name == theirs.full_name
    for name, method in theirs.methods_by_name.items():
        served = ours.methods_by_name[name]
        assert served.input_type.full_name == method.input_type.full_name
        assert served.output_type.full_name == method.output_type.full_name
        assert (served.client_streaming, served.server_streaming) == (method.client_streaming, method.server_streaming)
