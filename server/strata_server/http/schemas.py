"""The bodies of requests and answers as JSON Schema."""

from typing import Any, TypeAlias

from google.protobuf.descriptor import FieldDescriptor

from strata_server.rpc.open_inference import open_inference_pb2 as pb

Schema: TypeAlias = dict[str, Any]

_SIMPLE: dict[int, Schema] = {
    FieldDescriptor.CPPTYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.CPPTYPE_DOUBLE: {"type": "number"},
    FieldDescriptor.CPPTYPE_FLOAT: {"type": "number"},
    FieldDescriptor.CPPTYPE_INT32: {"type": "integer", "format": "int32"},
    FieldDescriptor.CPPTYPE_INT64: {"type": "integer", "format": "int64"},
    FieldDescriptor.CPPTYPE_STRING: {"type": "string"},
    FieldDescriptor.CPPTYPE_UINT32: {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
    FieldDescriptor.CPPTYPE_UINT64: {"type": "integer", "minimum": 0, "maximum": 2**64 - 1},
}

_STRING: Schema = {"type": "string"}
_UINT64: Schema = {"type": "integer", "minimum": 0, "maximum": 2**64 - 1}
_SIZES: Schema = {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}
_DATATYPES: Schema = {
    "type": "string",
    "description": "BOOL, UINT8 to UINT64, INT8 to INT64, FP16, BF16, FP32, FP64 or BYTES",
}
_PARAMETERS: Schema = {
    "type": "object",
    "additionalProperties": {"type": ["string", "number", "boolean"]},
}


def _describe(schema: Schema, description: str) -> Schema:
    return {**schema, "description": description}


def _object(properties: Schema, *required: str, closed: bool = False) -> Schema:
    schema: Schema = {"type": "object", "properties": properties}
    if required:
        schema["required"] = list(required)
    if closed:
        schema["additionalProperties"] = False
    return schema


_DATA: Schema = {
    "type": "array",
    "description": "The elements, row-major: a flat list, or lists nested as the shape says. FP16 and BF16 travel as "
    "binary data only.",
}

_OWN: dict[str, Schema] = {
    "Error": _describe(
        _object({"error": _describe(_STRING, "What is wrong, what was expected, what was received")}, "error"),
        "What every error is told with.",
    ),
    "Nothing": {"type": "object", "maxProperties": 0},
    "Live": _object({"live": {"type": "boolean"}}, "live"),
    "Ready": _object({"ready": {"type": "boolean"}, "error": _STRING}, "ready"),
    "InferRequest": _object(
        {
            "id": _describe(_STRING, "Comes back with the answer"),
            "parameters": _describe(
                _PARAMETERS,
                "binary_data_output: whether outputs come as binary data; timeout: microseconds; priority: 1 first",
            ),
            "inputs": {"type": "array", "items": {"$ref": "#/components/schemas/InferInput"}},
            "outputs": _describe(
                {"type": "array", "items": {"$ref": "#/components/schemas/InferRequestedOutput"}},
                "Any layers; the prediction where there are none",
            ),
            "model_name": _describe(_STRING, "Not read: the path names the model"),
            "model_version": _describe(_STRING, "Not read: the path names the version"),
        },
        "inputs",
        closed=True,
    ),
    "InferInput": _object(
        {
            "name": _STRING,
            "shape": {"type": "array", "items": _SIZES},
            "datatype": _DATATYPES,
            "parameters": _describe(
                _PARAMETERS,
                "binary_data_size: the bytes of this tensor behind the JSON, in place of data",
            ),
            "data": _DATA,
        },
        "name",
        "shape",
        "datatype",
        closed=True,
    ),
    "InferRequestedOutput": _object(
        {"name": _STRING, "parameters": _describe(_PARAMETERS, "binary_data: whether it comes as binary data")},
        "name",
        closed=True,
    ),
    "InferResponse": _object(
        {
            "model_name": _STRING,
            "model_version": _STRING,
            "id": _STRING,
            "parameters": _PARAMETERS,
            "outputs": {"type": "array", "items": {"$ref": "#/components/schemas/InferOutput"}},
        },
        "model_name",
        "model_version",
        "outputs",
    ),
    "InferOutput": _object(
        {
            "name": _STRING,
            "shape": {"type": "array", "items": _SIZES},
            "datatype": _DATATYPES,
            "parameters": _describe(_PARAMETERS, "binary_data_size: the bytes of this tensor behind the JSON"),
            "data": _describe({"type": "array"}, "The elements, flat and row-major"),
        },
        "name",
        "shape",
        "datatype",
    ),
    "RepositoryIndexRequest": _object(
        {
            "repository_name": _STRING,
            "ready": _describe({"type": "boolean"}, "Whether to list only what is served"),
        },
        closed=True,
    ),
    "RepositoryIndex": {"type": "array", "items": {"$ref": "#/components/schemas/RepositoryIndexResponse.ModelIndex"}},
    "RepositoryParameters": _describe(
        _object(
            {"parameters": {"type": "object", "additionalProperties": {"type": ["string", "integer", "boolean"]}}},
            closed=True,
        ),
        "A load request carries neither files nor configuration: such parameters are refused.",
    ),
    "RepositoryModelLoadResponse": _object({"name": _STRING, "load": {"type": "boolean"}}, "name", "load"),
    "RepositoryModelUnloadResponse": _object({"name": _STRING, "unload": {"type": "boolean"}}, "name", "unload"),
    "TraceSettings": _describe(
        {
            "type": "object",
            "additionalProperties": {"type": ["string", "array", "null"], "items": _STRING},
        },
        "By name: a string, or a list of them; null for what holds without any",
    ),
    "LogSettings": _describe(
        {
            "type": "object",
            "additionalProperties": {"type": ["string", "integer", "boolean"], "minimum": 0, "maximum": 2**32 - 1},
        },
        "By name: a string, a whole number, true or false",
    ),
    "SystemRegion": _object({"key": _STRING, "offset": _UINT64, "byte_size": _UINT64}, "key", "byte_size", closed=True),
    "CudaRegion": _object(
        {
            "raw_handle": _object({"b64": {"type": "string", "contentEncoding": "base64"}}, "b64"),
            "device_id": _SIZES,
            "byte_size": _UINT64,
        },
        "raw_handle",
        "device_id",
        "byte_size",
        closed=True,
    ),
    "SystemRegions": {
        "type": "array",
        "items": {"$ref": "#/components/schemas/SystemSharedMemoryStatusResponse.RegionStatus"},
    },
    "CudaRegions": {
        "type": "array",
        "items": {"$ref": "#/components/schemas/CudaSharedMemoryStatusResponse.RegionStatus"},
    },
}

_MESSAGES = (
    pb.ServerMetadataResponse,
    pb.ModelMetadataResponse,
    pb.ModelReadyResponse,
    pb.ModelConfigResponse,
    pb.ModelStatisticsResponse,
    pb.RepositoryIndexResponse,
    pb.SystemSharedMemoryStatusResponse,
    pb.CudaSharedMemoryStatusResponse,
)


def make_schemas() -> dict[str, Schema]:
    """Return every schema by its name; those of messages follow from their descriptors."""
    schemas: dict[str, Schema] = {}
    for message in _MESSAGES:
        _add(message.DESCRIPTOR, schemas)
    return {**schemas, **_OWN}


def _name(message: Any) -> str:
    return str(message.full_name).removeprefix("inference.")


def _add(message: Any, schemas: dict[str, Schema]) -> None:
    if _name(message) in schemas:
        return
    properties: Schema = {}
    schemas[_name(message)] = _object(properties, *(field.name for field in message.fields if not field.has_presence))
    for field in message.fields:
        properties[field.name] = _field(field, schemas)


def _field(field: FieldDescriptor, schemas: dict[str, Schema]) -> Schema:
    if not field.is_repeated:
        return _value(field, schemas)
    entry = field.message_type
    if entry and entry.GetOptions().map_entry:
        return {"type": "object", "additionalProperties": _value(entry.fields_by_name["value"], schemas)}
    return {"type": "array", "items": _value(field, schemas)}


def _value(field: FieldDescriptor, schemas: dict[str, Schema]) -> Schema:
    if field.message_type:
        _add(field.message_type, schemas)
        return {"$ref": f"#/components/schemas/{_name(field.message_type)}"}
    if field.enum_type:
        return {"type": "string", "enum": [value.name for value in field.enum_type.values]}
    if field.type == FieldDescriptor.TYPE_BYTES:
        return {"type": "string", "contentEncoding": "base64"}
    return dict(_SIMPLE[field.cpp_type])
