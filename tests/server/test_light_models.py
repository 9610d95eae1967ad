"""The nine networks that the onnx package carries for its backend tests: real ones, of opset 9, without a manifest."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from strata_server.artifact import read_artifact
from strata_server.deadline import Deadline
from strata_server.engine import Engine
from strata_server.reductions import Pooling, Reduction
from strata_server.repository import Repository
from strata_server.runtime import Runtime, choose_device
from strata_server.sessions import Sessions
from strata_server.settings import DeviceSettings, Limits
from strata_server.version import Version

FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
FILES = sorted(FOLDER.glob("*.onnx"))
SMALL = ("light_squeezenet", "light_shufflenet", "light_bvlc_alexnet")
GROUP = 40

Floats = npt.NDArray[np.float32]


def with_weights(path: Path) -> onnx.ModelProto:
    """Return a network with random weights: those it has are all alike, and would hide any mistake."""
    model = onnx.load(path)
    random = np.random.default_rng(0)
    sizes = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    kept = []
    for node in model.graph.node:
        if node.op_type != "ConstantOfShape":
            kept.append(node)
            continue
        shape = sizes[node.input[0]]
        scale = np.sqrt(2 / max(1, np.prod(shape[1:])))
        value = np.abs(random.normal(size=shape, scale=scale)).astype(np.float32)
        if len(shape) > 1:
            value *= random.choice(np.array([-1, 1], np.float32), size=shape)
        model.graph.initializer.append(onnx.numpy_helper.from_array(value, node.output[0]))
    del model.graph.node[:]
    model.graph.node.extend(kept)
    return model


def run_unoptimized(model: onnx.ModelProto, names: list[str], image: dict[str, Any]) -> dict[str, Floats]:
    """Return every layer, as onnxruntime computes it without touching the graph."""
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    del whole.graph.output[:]
    whole.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(whole.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(names, image), strict=True))


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem, marks=[] if path.stem in SMALL else [pytest.mark.full_size]) for path in FILES],
)
def test_every_layer_is_what_onnxruntime_computes_without_optimizing(path: Path, tmp_path: Path) -> None:
    model = with_weights(path)
    file = tmp_path / "model.onnx"
    file.write_bytes(model.SerializeToString())
    runtime = Runtime(choose_device(DeviceSettings(device="cpu")), threads=2)
    version = Version(path.stem, 1, read_artifact(file), runtime, Sessions(2**31))
    version.warm()
    engine = Engine(Repository([version]), Limits(max_message_bytes=2**31))
    (entry,) = version.catalog.inputs
    image = {entry.name: np.random.default_rng(1).random(entry.shape, np.float32)}
    names = [layer.name for layer in version.catalog.layers if layer is not entry]
    assert len(names) > 20
    expected = run_unoptimized(model, names, image)
    for start in range(0, len(names), GROUP):
        group = names[start : start + GROUP]
        found = engine.activations(version, image, group, deadline=Deadline()).run().activations
        for name in group:
            # Folded normalizations and other orders of sums, through up to 120 convolutions.
            largest = np.abs(expected[name]).max()
            np.testing.assert_allclose(
                found[name].astype(np.float32), expected[name], rtol=1e-3, atol=1e-4 * largest, err_msg=name
            )


def test_there_are_nine() -> None:
    assert len(FILES) == 9


def test_the_first_convolution_of_an_image_is_pooled_to_256_bytes(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(with_weights(FOLDER / "light_resnet50.onnx").SerializeToString())
    runtime = Runtime(choose_device(DeviceSettings(device="cpu")), threads=2)
    version = Version("resnet50", 1, read_artifact(file), runtime, Sessions(2**30))
    engine = Engine(Repository([version]), Limits())
    (entry,) = version.catalog.inputs
    image = {entry.name: np.random.default_rng(1).random(entry.shape, np.float32)}
    conv1 = next(layer.name for layer in version.catalog.layers if layer.kind == "Conv")
    mean = {conv1: Reduction(pooling=Pooling.MEAN)}
    whole = engine.activations(version, image, [conv1], deadline=Deadline()).run().activations[conv1]
    pooled = engine.activations(version, image, [conv1], mean, deadline=Deadline()).run().activations[conv1]
    assert (whole.nbytes, pooled.nbytes) == (3_211_264, 256)
    np.testing.assert_allclose(
        pooled.astype(np.float32), whole.astype(np.float64).mean(axis=(2, 3)), rtol=1e-5, atol=1e-6
    )
