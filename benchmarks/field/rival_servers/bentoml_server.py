"""BentoML over HTTP, JSON with base64: bentoml serve bentoml_server:Predict."""

import bentoml
from onnx_model import OnnxModel, models_of_environment


@bentoml.service(workers=1, traffic={"timeout": 60})
class Predict:
    """Runs the model that is named."""

    def __init__(self) -> None:
        self.models = {model.name: model for model in map(OnnxModel, models_of_environment())}

    @bentoml.api
    def predict(self, name: str, data: str) -> str:
        """Return the output."""
        return self.models[name].run_text(data)
