"""One model on one thread, as every rival runs it."""

import base64
import os
from collections.abc import Sequence

import numpy as np
import onnxruntime

SHAPES = {"digits": (28, 28, 1), "resnet50": (224, 224, 3)}


class OnnxModel:
    """Computes the prediction, or the layer that is named."""

    def __init__(self, term: str) -> None:
        """Load NAME=PATH or NAME=PATH:LAYER."""
        self.name, _, rest = term.partition("=")
        path, _, layer = rest.partition(":")
        self.shape = SHAPES[self.name.partition("-")[0]]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._entry = self._session.get_inputs()[0].name
        self.output = layer or self._session.get_outputs()[0].name
        (self.output_shape,) = (each.shape[1:] for each in self._session.get_outputs() if each.name == self.output)

    def run(self, rows: np.ndarray) -> np.ndarray:
        """Return the output of (rows, height, width, channels)."""
        return self._session.run([self.output], {self._entry: rows})[0]

    def run_bytes(self, data: bytes) -> bytes:
        """Return the output's values of an input's."""
        return self.run(np.frombuffer(data, np.float32).reshape(-1, *self.shape)).tobytes()

    def run_together(self, parts: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the output of each part, by one run."""
        ends = np.cumsum([len(each) for each in parts])
        return np.split(self.run(np.concatenate(parts)), ends[:-1])

    def run_text(self, text: str) -> str:
        """Return the output's values of an input's, both in base64."""
        return base64.b64encode(self.run_bytes(base64.b64decode(text))).decode()


def models_of_environment() -> list[str]:
    """Return the models for servers that are started by a command of their own."""
    return os.environ["FIELD_MODELS"].split()
