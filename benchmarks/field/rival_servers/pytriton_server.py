"""PyTriton: pytriton_server.py PORT HTTP_PORT MODELS..."""

import sys

import numpy as np
from onnx_model import OnnxModel
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig


def bind(triton: Triton, model: OnnxModel) -> None:
    """Serve a model."""

    @batch
    def compute(image: np.ndarray) -> dict[str, np.ndarray]:
        return {model.output: model.run(image)}

    triton.bind(
        model_name=model.name,
        infer_func=compute,
        inputs=[Tensor(name="image", dtype=np.float32, shape=model.shape)],
        outputs=[Tensor(name=model.output, dtype=np.float32, shape=tuple(model.output_shape))],
        config=ModelConfig(max_batch_size=64, batcher=DynamicBatcher()),
    )


if __name__ == "__main__":
    ports = {"grpc_port": int(sys.argv[1]), "http_port": int(sys.argv[2])}
    with Triton(config=TritonConfig(allow_metrics=False, **ports)) as triton:
        for term in sys.argv[3:]:
            bind(triton, OnnxModel(term))
        triton.serve()
