"""KServe's Python server over gRPC: kserve_server.py PORT HTTP_PORT MODELS..."""

import sys

from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from onnx_model import OnnxModel


class Predict(Model):
    """Runs one model."""

    def __init__(self, term: str) -> None:
        self.model = OnnxModel(term)
        super().__init__(self.model.name)
        self.ready = True

    def predict(self, payload: InferRequest, headers: object = None, response_headers: object = None) -> InferResponse:
        value = self.model.run(payload.inputs[0].as_numpy())
        output = InferOutput(name=self.model.output, shape=list(value.shape), datatype="FP32")
        output.set_data_from_numpy(value, binary_data=True)
        return InferResponse(response_id=payload.id, model_name=self.name, infer_outputs=[output])


if __name__ == "__main__":
    models = [Predict(term) for term in sys.argv[3:]]
    ports = {"grpc_port": int(sys.argv[1]), "http_port": int(sys.argv[2])}
    ModelServer(enable_grpc=True, workers=1, access_log_format=None, **ports).start(models)
