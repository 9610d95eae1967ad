"""Small real artifacts, made without TensorFlow."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 4
CLASSES = ("circle", "square", "star")
# Fixed and uneven, so that every class and every pixel counts differently.
WEIGHTS = np.random.default_rng(7).normal(size=(SIDE * SIDE, len(CLASSES))).astype(np.float32)


def tiny_model(factor: float = 2) -> onnx.ModelProto:
    """Return image (-1,4,4,1) -> double -> flat (-1,16) -> scores (-1,3) -> predictions, each addressable.

    Another factor makes another version of it: `double` is then the image times that.
    """
    batch = "batch"
    shapes: dict[str, list[str | int | None]] = {
        "double": [batch, SIDE, SIDE, 1],
        "flat": [batch, SIDE * SIDE],
        "scores": [batch, len(CLASSES)],
        "predictions": [batch, len(CLASSES)],
    }
    nodes = [
        helper.make_node("Mul", ["image", "two"], ["double"]),
        helper.make_node("Reshape", ["double", "flat_shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["predictions"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, SIDE, SIDE, 1])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [
            numpy_helper.from_array(np.array(factor, np.float32), "two"),
            numpy_helper.from_array(np.array([-1, SIDE * SIDE]), "flat_shape"),
            numpy_helper.from_array(WEIGHTS, "weights"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def slow_model(rounds: int) -> onnx.ModelProto:
    """Return the tiny model's shapes over a loop of matrix products: a run takes seconds."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["goes_on"]),
            helper.make_node("MatMul", ["carried", "matrix"], ["next"]),
        ],
        "round",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("carried", TensorProto.FLOAT, [600, 600]),
        ],
        [
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [600, 600]),
        ],
    )
    matrix = np.eye(600, dtype=np.float32)
    nodes = [
        helper.make_node("Loop", ["rounds", "", "matrix"], ["turned"], body=body),
        helper.make_node("ReduceMax", ["turned"], ["one"], keepdims=0),
        helper.make_node("Mul", ["image", "one"], ["predictions"]),
    ]
    shape: list[str | int | None] = ["batch", SIDE, SIDE, 1]
    graph = helper.make_graph(
        nodes,
        "slow",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("predictions", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.array(rounds), "rounds"), numpy_helper.from_array(matrix, "matrix")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def crashing_model(harmless_below: float = 0) -> onnx.ModelProto:
    """Return a valid model that ends the process which runs it: the smallest integer divided by -1 overflows.

    Values from 0 up to below `harmless_below` are divided by 1.
    """
    shape: list[str | int | None] = ["batch", SIDE, SIDE, 1]
    nodes = [
        helper.make_node("GreaterOrEqual", ["image", "harmless_below"], ["is_harmful"]),
        helper.make_node("Where", ["is_harmful", "minus_one", "one"], ["divisor"]),
        helper.make_node("Mul", ["divisor", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "smallest"], ["dividend"]),
        helper.make_node("Div", ["dividend", "divisor"], ["quotient"]),
        helper.make_node("Cast", ["quotient"], ["predictions"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        "crashing",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("predictions", TensorProto.FLOAT, shape)],
        [
            numpy_helper.from_array(np.array(harmless_below, np.float32), "harmless_below"),
            numpy_helper.from_array(np.array(np.iinfo(np.int64).min), "smallest"),
            numpy_helper.from_array(np.array(-1), "minus_one"),
            numpy_helper.from_array(np.array(1), "one"),
            numpy_helper.from_array(np.array(0), "zero"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def tiny_manifest() -> dict[str, Any]:
    """Return the manifest of the tiny model, as JSON has it."""
    image, flat, classes = [-1, SIDE, SIDE, 1], [-1, SIDE * SIDE], [-1, len(CLASSES)]
    layers = [
        _layer("image", "InputLayer", image, depth=0),
        _layer("double", "Rescaling", image, depth=1),
        _layer("flat", "Flatten", flat, depth=2),
        _layer("scores", "Dense", classes, depth=3, parameters=WEIGHTS.size, multiplyAdds=WEIGHTS.size),
        _layer("predictions", "Softmax", classes, depth=4, defaultExit=True),
    ]
    return {
        "format": 1,
        "inputs": ["image"],
        "layers": layers,
        "classes": list(CLASSES),
        "preprocessing": {
            "input": "image",
            "color": "COLOR_GRAYSCALE",
            "resampling": "RESAMPLING_BILINEAR",
            "scale": 1 / 255,
        },
        "training": {"data": "shapes", "network": "tiny", "testAccuracy": 0.5},
    }


def tiny_answer(image: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
    """Return what each layer of the tiny model must answer, by numpy."""
    flat = (2 * image).reshape(len(image), -1)
    scores = flat @ WEIGHTS
    exponents = np.exp(scores - scores.max(axis=1, keepdims=True))
    predictions = exponents / exponents.sum(axis=1, keepdims=True)
    return {"image": image, "double": 2 * image, "flat": flat, "scores": scores, "predictions": predictions}


def assert_close(actual: npt.ArrayLike, expected: npt.ArrayLike) -> None:
    """Assert that two computations of the same float32 values agree."""
    # Sums in another order differ by a few units in the last place of a float32.
    np.testing.assert_allclose(np.asarray(actual, np.float32), np.asarray(expected), rtol=1e-5, atol=1e-6)


def write_artifact(
    models: Path,
    name: str = "tiny",
    version: int | str = 1,
    *,
    model: onnx.ModelProto | None = None,
    manifest: dict[str, Any] | str | None = None,
) -> Path:
    """Write an artifact into a model repository and return its path; an empty manifest leaves it out."""
    model = model or tiny_model()
    manifest = tiny_manifest() if manifest is None else manifest
    if manifest:
        text = manifest if isinstance(manifest, str) else json.dumps(manifest)
        helper.set_model_props(model, {"strata.manifest": text})
    return write_bytes(models, model.SerializeToString(), name, version)


def write_bytes(models: Path, data: bytes, name: str = "tiny", version: int | str = 1) -> Path:
    """Write a file as an artifact, whole at once, and return its path."""
    path = models / name / str(version) / "model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(".partial")
    partial.write_bytes(data)
    return partial.rename(path)


def _layer(name: str, kind: str, shape: list[int], **figures: int) -> dict[str, Any]:
    return {"name": name, "kind": kind, "shape": shape, "dataType": "DATA_TYPE_FLOAT32", **figures}
