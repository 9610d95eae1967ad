"""Mosec over HTTP, raw bytes: mosec_server.py MODELS... -- FLAGS OF MOSEC, batches by FIELD_BATCH."""

import os
import sys

import numpy as np
from mosec import Runtime, Server, Worker
from onnx_model import OnnxModel, models_of_environment

_BATCH = int(os.environ.get("FIELD_BATCH", "1"))


def make_worker(term: str) -> type[Worker]:
    """Return the worker of a model: its path can reach another process in no other way than by the class."""

    class Predict(Worker):
        """Runs one model."""

        def __init__(self) -> None:
            self.model = OnnxModel(term)

        def deserialize(self, data: bytes) -> np.ndarray:
            return np.frombuffer(data, np.float32).reshape(-1, *self.model.shape)

        def serialize(self, data: np.ndarray) -> bytes:
            return data.tobytes()

        def forward(self, data: object) -> object:
            return self.model.run(data) if _BATCH == 1 else self.model.run_together(data)

    return Predict


if __name__ == "__main__":
    server = Server()
    routes = {}
    for term in models_of_environment():
        runtime = Runtime(make_worker(term), num=1, max_batch_size=_BATCH, max_wait_time=1, start_method="fork")
        routes["/" + term.partition("=")[0]] = [runtime]
    server.register_runtime(routes)
    server.run()
    sys.exit()
