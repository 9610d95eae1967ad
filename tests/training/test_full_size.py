"""Networks of keras.applications, exported and served by the commands: minutes, so `make test-full` alone runs them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest
import strata_client
from processes import serving
from strata_training.manifest import read_manifest
from training.graphs import Array, bypass
from training.workplace import Invoke

pytestmark = pytest.mark.full_size

layers = keras.layers

# float32 sums of up to 4,608 terms over some fifty layers: up to 3e-6 of a layer's largest magnitude was measured.
RELATIVE = 2e-5
# Layers of one request: three rows of the largest of them stay within a message.
GROUP = 4


@dataclass(frozen=True)
class Exported:
    """A model in memory, and the artifact that its file became."""

    keras: keras.Model
    models: Path
    rows: Array

    @cached_property
    def artifact(self) -> onnx.ModelProto:
        return onnx.load(self.models / "full/1/model.onnx")

    @property
    def layers(self) -> list[str]:
        return [layer.name for layer in read_manifest(self.artifact).layers]

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in read_manifest(self.artifact).layers)

    def check(self, expected: Mapping[str, Any]) -> None:
        """Compare what a server answers for each layer that is given."""
        names = list(expected)
        with serving(self.models) as server, strata_client.Client(server.grpc) as client:
            for start in range(0, len(names), GROUP):
                group = names[start : start + GROUP]
                for name, value in client.activations(self.rows, group).items():
                    compare(name, value, np.asarray(expected[name]))


def compare(name: str, received: Array, expected: Array) -> None:
    allowed = RELATIVE * np.abs(expected).max()
    assert np.ptp(expected, axis=0).max() > 3 * allowed, f"{name}: so alike for all rows that nothing is proven"
    np.testing.assert_allclose(received, expected, rtol=0, atol=allowed, err_msg=name)


def settle(model: keras.Model, rows: Array) -> None:
    """Move each normalization most of the way to the statistics of these rows, as training does.

    With those it is made with, values shrink from layer to layer until MobileNetV2 gives each class 1 / 1000 whatever
    the picture is. All the way, each would blow up the rounding of the one before, as in no network that has learned.
    """
    normalizations = [layer for layer in model._flatten_layers() if isinstance(layer, layers.BatchNormalization)]
    for layer in normalizations:
        layer.momentum = 0.1
    # The many thin layers of MobileNetV2 need it twice; ResNet50's rounding would grow with the second.
    for _ in range(2 if any("depthwise" in layer.name for layer in normalizations) else 1):
        model(rows, training=True)


def draw_pictures() -> Array:
    """Return three pictures of 7x7 colored squares, one bright and one dark: noise would be alike in the mean."""
    squares = np.random.default_rng(7).random((3, 7, 7, 3), np.float32) * np.array([1, 0.5, 0.1]).reshape(3, 1, 1, 1)
    pictures: Array = squares.repeat(32, axis=1).repeat(32, axis=2).astype(np.float32)
    return pictures


def export(model: keras.Model, rows: Array, folder: Path, strata_train: Invoke) -> Exported:
    settle(model, rows)
    model.save(folder / "full.keras")
    result = strata_train("export", "--from", folder / "full.keras", "--model", "full", "--models", folder / "models")
    assert result.exit_code == 0, result.stderr
    return Exported(model, folder / "models", rows)


@pytest.mark.parametrize(("build", "count"), [("ResNet50", 177), ("MobileNetV2", 156)])
def test_every_layer_of_a_network_is_listed_and_is_what_keras_computes(
    build: str, count: int, tmp_path: Path, strata_train: Invoke
) -> None:
    keras.utils.set_random_seed(0)
    exported = export(getattr(keras.applications, build)(weights=None), draw_pictures(), tmp_path, strata_train)
    model = exported.keras
    names = [layer.name for layer in model.layers]
    assert len(names) == count
    assert sorted(exported.layers) == sorted(names)
    assert exported.parameters == model.count_params()
    outputs = {layer.name: layer.output for layer in model.layers[1:]}
    exported.check(keras.Model(model.inputs, outputs)([exported.rows], training=False))
    graph, last = exported.artifact.graph, names[-1]
    for end in [name for name in names if name.endswith(("_out", "_project_BN"))]:
        # Where MobileNetV2 adds after it, a way leads around; ResNet50 has the addition before the block's end.
        around = end.endswith("_project_BN") and end.replace("project_BN", "add") in names
        assert (last in bypass(graph, end)) == around, end


def test_transfer_learning_lists_the_layers_of_the_network_it_starts_from(tmp_path: Path, strata_train: Invoke) -> None:
    keras.utils.set_random_seed(0)
    base = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(224, 224, 3))
    scale = layers.Rescaling(1 / 127.5, offset=-1.0, name="scale")
    head = [layers.GlobalAveragePooling2D(name="pool"), layers.Dense(5, activation="softmax", name="scores")]
    model = keras.Sequential([keras.Input((224, 224, 3), name="image"), scale, base, *head])
    exported = export(model, 255 * draw_pictures(), tmp_path, strata_train)
    inner = [layer for layer in base.layers if not isinstance(layer, layers.InputLayer)]
    expected = [f"{base.name}/{layer.name}" for layer in inner]
    assert sorted(exported.layers) == sorted(["image", "scale", base.name, "pool", "scores", *expected])
    assert exported.parameters == model.count_params()
    within = keras.Model(base.inputs, {f"{base.name}/{layer.name}": layer.output for layer in inner})
    scaled = scale(exported.rows)
    features = base(scaled, training=False)
    exported.check(within([scaled], training=False))
    exported.check({"scale": scaled, base.name: features, "scores": model(exported.rows, training=False)})
    after = set(bypass(exported.artifact.graph, base.name))
    assert not after & {base.name, "pool", "scores"}
