"""The way without the work: takes a request and answers with as many bytes as the prediction has.

python -m benchmarks.field.echo_server PORT ANSWER_FILE
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc


def serve(port: str, answer: bytes) -> None:
    """Serve until the process ends."""

    def handle(data: bytes, context: object) -> bytes:  # noqa: ARG001 - grpc passes both
        return answer

    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(handle)
    server = grpc.server(ThreadPoolExecutor(64), options=[("grpc.max_receive_message_length", -1)])
    handlers = grpc.method_handlers_generic_handler("inference.GRPCInferenceService", {"ModelInfer": handler})
    server.add_generic_rpc_handlers((handlers,))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    print("ready", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]).read_bytes())
