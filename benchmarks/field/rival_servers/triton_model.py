"""The model.py of Triton's python backend."""

import json

import triton_python_backend_utils as backend
from onnx_model import OnnxModel


class TritonPythonModel:
    """Runs one model, all requests of a batch together."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load it from the term in its configuration."""
        self.model = OnnxModel(json.loads(args["model_config"])["parameters"]["term"]["string_value"])

    def execute(self, requests: list) -> list:
        """Answer requests."""
        rows = [backend.get_input_tensor_by_name(each, "image").as_numpy() for each in requests]
        values = self.model.run_together(rows)
        return [backend.InferenceResponse([backend.Tensor(self.model.output, value)]) for value in values]
