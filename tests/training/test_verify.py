"""An artifact on disk against a Keras model."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from strata_training import export
from strata_training.errors import Mismatch, Unreadable
from strata_training.networks import build_cnn
from strata_training.sources import Source, open_source
from training.workplace import Invoke, Workplace


@pytest.fixture
def save(tmp_path: Path, model: onnx.ModelProto) -> Callable[[], Path]:
    """Return what writes the changed model to a file."""

    def write() -> Path:
        onnx.save(model, tmp_path / "model.onnx")
        return tmp_path / "model.onnx"

    return write


def change_manifest(model: onnx.ModelProto, **fields: Any) -> None:
    manifest = json.loads(model.metadata_props[0].value)
    helper.set_model_props(model, {"strata.manifest": json.dumps(manifest | fields)})


def test_an_artifact_passes_against_the_run_it_came_from(workplace: Workplace, strata_train: Invoke) -> None:
    result = strata_train("verify", workplace.artifact, "--against", "digits")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "predictions" in result.stdout
    assert " NO" not in result.stdout


def test_an_artifact_passes_against_the_file_of_that_run(workplace: Workplace, strata_train: Invoke) -> None:
    assert strata_train("verify", workplace.artifact, "--against", workplace.run.model).exit_code == 0


def test_the_tolerance_is_the_artifacts_own_whatever_it_is_compared_with(workplace: Workplace) -> None:
    rows = export.verify(workplace.artifact, open_source(str(workplace.run.model))).parity
    assert {row.tolerance for row in rows} == {1e-5}


def test_an_artifact_fails_against_other_weights(workplace: Workplace, strata_train: Invoke, tmp_path: Path) -> None:
    build_cnn((28, 28, 1), 10).save(tmp_path / "other.keras")
    result = strata_train("verify", workplace.artifact, "--against", tmp_path / "other.keras")
    assert result.exit_code == 1
    assert " NO" in result.stdout
    assert result.stderr.startswith("strata-train: 8 of 8 layers differ from Keras by more than is allowed")


@pytest.mark.usefixtures("workplace")
def test_an_artifact_that_was_changed_on_disk_fails(
    strata_train: Invoke, model: onnx.ModelProto, save: Callable[[], Path]
) -> None:
    bias = next(tensor for tensor in model.graph.initializer if list(tensor.dims) == [10])
    # Not the same for all classes: that would leave a softmax as it is.
    bias.CopyFrom(
        numpy_helper.from_array(numpy_helper.to_array(bias) + np.linspace(0, 0.01, 10, dtype=np.float32), bias.name)
    )
    result = strata_train("verify", save(), "--against", "digits")
    assert result.exit_code == 1


def test_a_layer_that_the_artifact_lacks_is_told(workplace: Workplace) -> None:
    cnn = open_source("digits").model
    longer = keras.Model(cnn.inputs, keras.layers.Dense(3, name="more")(cnn.outputs[0]))
    with pytest.raises(Mismatch, match=r"the artifact has no layer 'more', which the Keras model has"):
        export.verify(workplace.artifact, Source(longer))


def test_a_network_for_other_pictures_is_told_by_its_shapes(workplace: Workplace) -> None:
    expected = r"layer 'image': expected shape \[-1, 32, 32, 1\] as in Keras, received \[-1, 28, 28, 1\]"
    with pytest.raises(Mismatch, match=expected):
        export.verify(workplace.artifact, Source(build_cnn((32, 32, 1), 10)))


def test_a_layer_that_keras_lacks_is_told(workplace: Workplace) -> None:
    source = open_source("digits")
    shorter = keras.Model(source.model.inputs, source.model.get_layer("dense1").output)
    with pytest.raises(Mismatch, match=r"has layers that the Keras model lacks: dropout, predictions"):
        export.verify(workplace.artifact, Source(shorter))


@pytest.mark.usefixtures("workplace")
def test_a_layer_that_the_graph_lacks_is_told(model: onnx.ModelProto, save: Callable[[], Path]) -> None:
    del model.graph.output[2]
    with pytest.raises(Mismatch, match=r"received none named conv2"):
        export.verify(save(), open_source("digits"))


@pytest.mark.usefixtures("workplace")
def test_an_onnx_file_without_a_manifest_is_no_artifact(model: onnx.ModelProto, save: Callable[[], Path]) -> None:
    del model.metadata_props[:]
    with pytest.raises(Unreadable, match=r"is not an artifact: no manifest \(strata\.manifest\)"):
        export.verify(save(), open_source("digits"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"format": 2}, "expected a manifest of format 1, received 2"),
        ({"layers": 7}, "its manifest is damaged"),
    ],
)
@pytest.mark.usefixtures("workplace")
def test_a_manifest_that_cannot_be_read_is_told(
    model: onnx.ModelProto,
    save: Callable[[], Path],
    fields: dict[str, Any],
    message: str,
) -> None:
    change_manifest(model, **fields)
    with pytest.raises(Unreadable, match=message):
        export.verify(save(), open_source("digits"))


@pytest.mark.usefixtures("workplace")
def test_a_field_of_a_later_release_is_no_hindrance(model: onnx.ModelProto, save: Callable[[], Path]) -> None:
    change_manifest(model, inventedLater=True)
    assert len(export.verify(save(), open_source("digits")).parity) == 8
