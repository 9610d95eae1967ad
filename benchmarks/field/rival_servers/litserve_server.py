"""LitServe over HTTP, JSON with base64: litserve_server.py PORT MODELS..."""

import sys

import litserve
from onnx_model import OnnxModel


class Predict(litserve.LitAPI):
    """Runs one model."""

    def __init__(self, term: str) -> None:
        super().__init__(api_path="/" + term.partition("=")[0])
        self.term = term

    def setup(self, device: str) -> None:
        self.model = OnnxModel(self.term)

    def decode_request(self, request: dict) -> str:
        return request["data"]

    def predict(self, text: str) -> str:
        return self.model.run_text(text)

    def encode_response(self, text: str) -> dict:
        return {"data": text}


if __name__ == "__main__":
    server = litserve.LitServer([Predict(term) for term in sys.argv[2:]], accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="error")
