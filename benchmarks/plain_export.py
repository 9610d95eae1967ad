"""Export a Keras model with its prediction as the only output, as one would for another server.

python -m benchmarks.plain_export model.keras model.onnx
"""

import sys

import keras
import onnx
import tensorflow as tf
import tf2onnx


def main(source: str, target: str) -> None:
    """Convert one file."""
    model = keras.models.load_model(source)
    signature = [tf.TensorSpec(tensor.shape, tensor.dtype, name=tensor.name) for tensor in model.inputs]
    function = tf.function(lambda *values: {"predictions": model(list(values), training=False)}, signature)
    converted, _ = tf2onnx.convert.from_function(function, input_signature=signature, opset=18)
    onnx.save_model(converted, target)


if __name__ == "__main__":
    main(*sys.argv[1:])
