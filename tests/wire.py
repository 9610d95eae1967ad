"""The protocols, spoken by hand."""

from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
from strata.v1 import catalog_pb2_grpc, inference_pb2, inference_pb2_grpc, tensor_pb2
from strata_server.rpc.open_inference import open_inference_pb2

WAIT_S = 20


@dataclass(frozen=True)
class Stubs:
    """The generated stubs of strata.v1 on one channel, and any other method by its path."""

    channel: grpc.Channel
    catalog: catalog_pb2_grpc.CatalogServiceStub
    inference: inference_pb2_grpc.InferenceServiceStub

    def call(self, path: str, body: bytes, timeout_s: float = WAIT_S) -> bytes:
        """Call a unary method with raw bytes."""
        method: Any = self.channel.unary_unary(path)
        return bytes(method(body, timeout=timeout_s))

    def infer(self, request: open_inference_pb2.ModelInferRequest) -> open_inference_pb2.ModelInferResponse:
        """Call ModelInfer."""
        body = self.call("/inference.GRPCInferenceService/ModelInfer", request.SerializeToString())
        return open_inference_pb2.ModelInferResponse.FromString(body)

    def predict(self, request: inference_pb2.PredictRequest) -> inference_pb2.PredictResponse:
        """Call Predict."""
        return self.inference.Predict(request, timeout=WAIT_S)

    def activations(self, request: inference_pb2.GetActivationsRequest) -> inference_pb2.GetActivationsResponse:
        """Call GetActivations."""
        return self.inference.GetActivations(request, timeout=WAIT_S)


def connect(address: str, *, alone: bool = False) -> Stubs:
    """Open a channel with its stubs; `alone` gives it a connection that no other channel shares."""
    options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", int(alone))]
    channel = grpc.insecure_channel(address, options=options)
    return Stubs(
        channel,
        catalog_pb2_grpc.CatalogServiceStub(channel),
        inference_pb2_grpc.InferenceServiceStub(channel),
    )


def tensors(*arrays: npt.NDArray[np.float32], name: str = "") -> tensor_pb2.Tensors:
    """Return float32 arrays as they travel."""
    return tensor_pb2.Tensors(
        tensors=[
            tensor_pb2.Tensor(name=name, data_type="DATA_TYPE_FLOAT32", shape=array.shape, data=array.tobytes())
            for array in arrays
        ]
    )
