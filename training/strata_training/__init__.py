"""Train Keras networks and export them to ONNX with every layer addressable."""
