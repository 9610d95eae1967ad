"""The server that one writes in an afternoon: grpc.aio, and session.run where the request is handled.

python -m benchmarks.field.plain_server PORT NAME=MODEL.onnx ...
"""

import asyncio
import sys

import grpc
import numpy as np
import onnxruntime
from tritonclient.grpc import service_pb2, service_pb2_grpc

from benchmarks.serving import open_session


class Servicer(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Answers ModelInfer."""

    def __init__(self, sessions: dict[str, onnxruntime.InferenceSession]) -> None:
        self._sessions = sessions

    async def ModelInfer(  # noqa: N802 - the protocol's name
        self,
        request: service_pb2.ModelInferRequest,
        context: object,  # noqa: ARG002 - grpc passes it
    ) -> service_pb2.ModelInferResponse:
        """Run the whole model."""
        session = self._sessions[request.model_name]
        entry = session.get_inputs()[0].name
        rows = np.frombuffer(request.raw_input_contents[0], np.float32).reshape(request.inputs[0].shape)
        names = [output.name for output in request.outputs] or [session.get_outputs()[0].name]
        response = service_pb2.ModelInferResponse(model_name=request.model_name, model_version="1", id=request.id)
        for name, value in zip(names, session.run(names, {entry: rows}), strict=True):
            response.outputs.add(name=name, datatype="FP32", shape=value.shape)
            response.raw_output_contents.append(value.tobytes())
        return response


async def serve(port: str, models: dict[str, str]) -> None:
    """Serve until the process ends."""
    sessions = {}
    for name, path in models.items():
        with open(path, "rb") as file:  # noqa: PTH123 - before anything is served
            sessions[name] = open_session(file.read())
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Servicer(sessions), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    print("ready", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], dict(each.split("=", 1) for each in sys.argv[2:])))
