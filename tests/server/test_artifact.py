import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from artifacts import tiny_manifest, tiny_model, write_artifact
from onnx import TensorProto, helper
from strata_server.artifact import read_artifact
from strata_server.errors import ArtifactError


def test_a_digest_names_the_bytes(tmp_path: Path) -> None:
    first, second = write_artifact(tmp_path, version=1), write_artifact(tmp_path, version=2)
    assert read_artifact(first).digest == read_artifact(second).digest
    second.write_bytes(second.read_bytes() + b"\x1a\x01x")  # a later producer name: the same network, other bytes
    assert read_artifact(first).digest != read_artifact(second).digest


def changed(**fields: Any) -> dict[str, Any]:
    return {**tiny_manifest(), **fields}


def with_layer(index: int, **fields: Any) -> dict[str, Any]:
    manifest = tiny_manifest()
    manifest["layers"][index].update(fields)
    return manifest


def with_preprocessing(**fields: Any) -> dict[str, Any]:
    manifest = tiny_manifest()
    manifest["preprocessing"].update(fields)
    return manifest


BAD_MANIFESTS = {
    "no JSON": ("{", "cannot be read"),
    "another type": (changed(layers="all"), "cannot be read"),
    "a deep one": ('{"classes":' + "[" * 10_000, "cannot be read"),
    "a newer format": (changed(format=2), "expected a manifest of format 1, received 2"),
    "no layers": (changed(layers=[]), "an input that is not among its layers"),
    "no inputs": (changed(inputs=[]), "no input or no default exit"),
    "no default exit": (with_layer(4, defaultExit=False), "no input or no default exit"),
    "a layer twice": (with_layer(2, name="double"), "names the same layer twice"),
    "a layer that is not there": (with_layer(2, name="flatt"), "a layer 'flatt' that its graph has not"),
    "another shape": (with_layer(2, shape=[-1, 17]), "as (-1, 17) float32, its graph as (-1, 16) float32"),
    "another rank": (with_layer(2, shape=[-1, 16, 1]), "as (-1, 16, 1) float32"),
    "another type of layer": (with_layer(2, dataType="DATA_TYPE_INT8"), "as (-1, 16) int8"),
    "no type": (with_layer(2, dataType="DATA_TYPE_UNSPECIFIED"), "no data type"),
    "a type from the future": (with_layer(2, dataType=99), "no data type"),
    "an open size": (with_layer(0, shape=[-1, -1, 4, 1]), "expected -1 for the batch, then sizes of at least 1"),
    "no batch": (with_layer(2, shape=[16]), "expected -1 for the batch"),
    "no shape": (with_layer(2, shape=[]), "expected -1 for the batch"),
    "a negative figure": (with_layer(2, parameters=-1), "a negative figure"),
    "an absurd figure": (with_layer(2, parameters=2**62), "beyond what any network has"),
    "a class too few": (changed(classes=["circle", "star"]), "names 2 classes"),
    "classes of two exits": (with_layer(3, defaultExit=True), "names 3 classes"),
    "an input twice": (changed(inputs=["image", "image"]), "names the same input twice"),
    "an input that is none": (changed(inputs=["double"], preprocessing=None), "does not name the inputs 'image'"),
    "preprocessing of nothing": (
        changed(preprocessing={"input": "imag", "color": "COLOR_RGB"}),
        "preprocessing",
    ),
    "preprocessing without a color": (changed(preprocessing={"input": "image"}), "preprocessing"),
    "preprocessing of a layer": (with_preprocessing(input="double"), "does not fit an input"),
    "preprocessing to three colors": (with_preprocessing(color="COLOR_RGB"), "does not fit an input"),
    "preprocessing to a color from the future": (with_preprocessing(color=99), "does not fit an input"),
    "preprocessing to black": (with_preprocessing(scale=0), "a scale or deviation of 0"),
    "preprocessing with NaN": (with_preprocessing(scale="NaN"), "a figure that is no number"),
    "preprocessing with a deviation of 0": (with_preprocessing(deviations=[0]), "a scale or deviation of 0"),
    "preprocessing with two means": (with_preprocessing(means=[0, 0]), "for other than 1 channels"),
    "preprocessing of a vector": (
        changed(preprocessing={"input": "flat", "color": "COLOR_RGB", "resampling": "RESAMPLING_NEAREST"}),
        "preprocessing",
    ),
}


@pytest.mark.parametrize(("manifest", "reason"), BAD_MANIFESTS.values(), ids=BAD_MANIFESTS)
def test_a_manifest_that_cannot_be_meant_is_refused(
    tmp_path: Path, manifest: dict[str, Any] | str, reason: str
) -> None:
    path = write_artifact(tmp_path, manifest=manifest)
    with pytest.raises(ArtifactError, match=re.escape(reason)):
        read_artifact(path)


def test_a_file_without_a_manifest_has_the_layers_of_its_graph(tmp_path: Path) -> None:
    artifact = read_artifact(write_artifact(tmp_path, manifest=""))
    names = ["image", "double", "flat", "scores", "predictions"]
    assert [layer.name for layer in artifact.catalog.layers] == names
    assert [layer.name for layer in artifact.catalog.default_exits] == names[1:]
    assert (artifact.classes, artifact.preprocessing, artifact.is_foreign) == ((), None, True)


def external() -> TensorProto:
    tensor = helper.make_tensor("weights", TensorProto.FLOAT, [16, 3], bytes(192), raw=True)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/passwd")
    return tensor


def in_an_initializer() -> Any:
    model = tiny_model()
    model.graph.initializer[2].CopyFrom(external())
    return model


def in_a_subgraph() -> Any:
    model = tiny_model()
    node = helper.make_node("Constant", [], ["weights"], value=external())
    output = helper.make_tensor_value_info("weights", TensorProto.FLOAT, [16, 3])
    inner = helper.make_graph([node], "inner", [], [output])
    condition = helper.make_tensor("yes", TensorProto.BOOL, [], [1])
    model.graph.initializer.append(condition)
    model.graph.node.insert(0, helper.make_node("If", ["yes"], ["x"], then_branch=inner, else_branch=inner))
    return model


@pytest.mark.parametrize("model", [in_an_initializer, in_a_subgraph])
def test_weights_in_another_file_are_refused_wherever_they_are_named(tmp_path: Path, model: Callable[[], Any]) -> None:
    path = write_artifact(tmp_path, model=model())
    with pytest.raises(ArtifactError, match="lies in another file"):
        read_artifact(path)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", bytes(1000)], ids=["empty", "a zip", "zeros"])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    with pytest.raises(ArtifactError):
        read_artifact(path)


def test_a_pipe_in_place_of_the_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.onnx")
    with pytest.raises(ArtifactError, match="no regular file"):
        read_artifact(tmp_path / "model.onnx")


def test_a_damaged_file_is_refused_or_served_but_never_a_surprise(tmp_path: Path) -> None:
    path = write_artifact(tmp_path)
    whole = path.read_bytes()
    generator = np.random.default_rng(5)
    refused = 0
    for _ in range(1500):
        damaged = bytearray(whole)
        for _ in range(generator.integers(1, 4)):
            damaged[generator.integers(len(damaged))] ^= 1 << int(generator.integers(8))
        path.write_bytes(damaged)
        try:
            read_artifact(path)
        except ArtifactError:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_torn_file_is_refused(tmp_path: Path, share: float) -> None:
    path = write_artifact(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ArtifactError):
        read_artifact(path)


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no regular file"):
        read_artifact(tmp_path)
