"""Ray Serve over gRPC, the Open Inference Protocol: ray_server.py PORT HTTP_PORT MODELS..."""

import os
import sys
import threading

import grpc
import numpy as np
import ray
from onnx_model import OnnxModel
from ray import serve
from tritonclient.grpc import service_pb2


def add_servicer(servicer: object, server: grpc.Server) -> None:
    """Add ModelInfer; requests stay bytes on their way to the replica, for tritonclient's messages do not pickle."""
    handler = grpc.unary_unary_rpc_method_handler(
        servicer.ModelInfer, response_serializer=service_pb2.ModelInferResponse.SerializeToString
    )
    handlers = {"ModelInfer": handler}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("inference.GRPCInferenceService", handlers),))


@serve.deployment(max_ongoing_requests=128, ray_actor_options={"num_cpus": 0})
class Predict:
    """Runs the model that is named."""

    def __init__(self, terms: list[str]) -> None:
        self.models = {model.name: model for model in map(OnnxModel, terms)}

    def ModelInfer(self, data: bytes) -> object:
        """Answer a request."""
        request = service_pb2.ModelInferRequest.FromString(data)
        model = self.models[request.model_name]
        rows = np.frombuffer(request.raw_input_contents[0], np.float32).reshape(request.inputs[0].shape)
        value = model.run(rows)
        response = service_pb2.ModelInferResponse(model_name=model.name, model_version="1")
        response.outputs.add(name=model.output, datatype="FP32", shape=value.shape)
        response.raw_output_contents.append(value.tobytes())
        return response


if __name__ == "__main__":
    environment = {"env_vars": {"PYTHONPATH": os.environ["PYTHONPATH"]}}
    ray.init(num_cpus=4, include_dashboard=False, runtime_env=environment, object_store_memory=256 * 2**20)
    serve.start(
        grpc_options={"port": int(sys.argv[1]), "grpc_servicer_functions": ["ray_server.add_servicer"]},
        http_options={"host": "127.0.0.1", "port": int(sys.argv[2])},
    )
    serve.run(Predict.bind(sys.argv[3:]))
    print("ready", flush=True)
    threading.Event().wait()
