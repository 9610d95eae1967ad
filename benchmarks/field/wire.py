"""Requests and answers as bytes, for contenders that speak the Open Inference Protocol, and for ours."""

import struct

import numpy as np
from strata.v1 import inference_pb2, tensor_pb2
from tritonclient.grpc import service_pb2

from benchmarks.field.cases import Case, Floats

OPEN_INFERENCE = "/inference.GRPCInferenceService/ModelInfer"
OPEN_INFERENCE_STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
ACTIVATIONS = "/strata.v1.InferenceService/GetActivations"


def write_infer(case: Case, model: str, entry: str, images: Floats) -> bytes:
    """Return a ModelInferRequest."""
    request = service_pb2.ModelInferRequest(model_name=model)
    request.inputs.add(name=entry, datatype="FP32", shape=images.shape)
    request.raw_input_contents.append(images.tobytes())
    if case.layer:
        request.outputs.add(name=case.layer)
    return bytes(request.SerializeToString())


def read_infer(body: bytes) -> Floats:
    """Return the only output of a ModelInferResponse."""
    response = service_pb2.ModelInferResponse.FromString(body)
    return np.frombuffer(response.raw_output_contents[0], np.float32).reshape(response.outputs[0].shape)


def read_streamed(body: bytes) -> Floats:
    """Return the only output of an answer on a stream."""
    return read_infer(service_pb2.ModelStreamInferResponse.FromString(body).infer_response.SerializeToString())


def write_mean(case: Case, model: str, images: Floats) -> bytes:
    """Return a request of strata.v1 for the mean of a layer over space."""
    tensor = tensor_pb2.Tensor(data_type="DATA_TYPE_FLOAT32", shape=images.shape, data=images.tobytes())
    request = inference_pb2.GetActivationsRequest(
        model={"name": model},
        tensors=tensor_pb2.Tensors(tensors=[tensor]),
        layers=[case.layer],
        reduction=inference_pb2.Reduction(pooling="POOLING_MEAN"),
    )
    return request.SerializeToString()


def read_mean(body: bytes) -> Floats:
    """Return the only activation of an answer of strata.v1."""
    (tensor,) = inference_pb2.GetActivationsResponse.FromString(body).activations
    return np.frombuffer(tensor.data, np.float32).reshape(tensor.shape)


def frame(message: bytes) -> bytes:
    """Return a message as gRPC frames it: not compressed, its length, itself."""
    return b"\0" + struct.pack(">I", len(message)) + message
