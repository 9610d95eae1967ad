"""MLServer's runtime of a model: `mlserver start FOLDER`."""

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from onnx_model import OnnxModel


class Runtime(MLModel):
    """Runs one model."""

    async def load(self) -> bool:
        """Load it from the term in its settings."""
        self.onnx = OnnxModel(self.settings.parameters.extra["term"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer a request."""
        value = self.onnx.run(NumpyCodec.decode_input(payload.inputs[0]))
        output = NumpyCodec.encode_output(self.onnx.output, value)
        return InferenceResponse(model_name=self.name, id=payload.id, outputs=[output])
