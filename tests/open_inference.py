"""Requests and answers of the Open Inference Protocol, as tests write and read them."""

from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from strata_server.rpc.open_inference import open_inference_pb2 as pb
from wire import Stubs

SERVICE = "/inference.GRPCInferenceService"
Parameter = bool | int | str | float

_KINDS = {bool: "bool_param", int: "int64_param", str: "string_param", float: "double_param"}
_DTYPES = {"FP32": np.float32, "FP16": np.float16, "INT32": np.int32}


def write_parameters(given: Mapping[str, Parameter]) -> dict[str, Any]:
    """Return parameters as they travel."""
    return {name: {_KINDS[type(value)]: value} for name, value in given.items()}


def write_request(
    image: npt.NDArray[np.float32], outputs: Mapping[str, Mapping[str, Parameter]] | None = None, **fields: Any
) -> pb.ModelInferRequest:
    """Return a request for the tiny model: an image, and outputs with the parameters of each."""
    told: dict[str, Any] = {
        "model_name": "tiny",
        "inputs": [{"name": "image", "datatype": "FP32", "shape": image.shape}],
        "outputs": [{"name": name, "parameters": write_parameters(each)} for name, each in (outputs or {}).items()],
        "raw_input_contents": [image.tobytes()],
        **fields,
    }
    return pb.ModelInferRequest(**told)


def read_values(answer: pb.ModelInferResponse) -> dict[str, Any]:
    """Return the values of raw outputs by name; texts as lists of them."""
    return {
        output.name: _read_value(output, raw)
        for output, raw in zip(answer.outputs, answer.raw_output_contents, strict=True)
    }


def call(stubs: Stubs, name: str, request: Any, answer: Any) -> Any:
    """Call an RPC and return its answer, a message of the type given."""
    return answer.FromString(stubs.call(f"{SERVICE}/{name}", request.SerializeToString()))


def refusal_of(ask: Any, *arguments: object) -> tuple[grpc.StatusCode, str]:
    """Return the status and the reason with which a call is refused."""
    with pytest.raises(grpc.RpcError) as caught:
        ask(*arguments)
    return caught.value.code(), str(caught.value.details())


def _read_value(output: pb.ModelInferResponse.InferOutputTensor, raw: bytes) -> Any:
    if output.datatype != "BYTES":
        return np.frombuffer(raw, _DTYPES[output.datatype]).reshape(output.shape)
    texts = []
    while raw:
        length = int.from_bytes(raw[:4], "little")
        texts.append(raw[4 : 4 + length].decode())
        raw = raw[4 + length :]
    columns = output.shape[-1]
    return [texts[start : start + columns] for start in range(0, len(texts), columns)]
