"""The exported graph: every layer is in it, is addressable, and computes what Keras computes."""

import importlib.metadata
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf
import tf2onnx
from google.protobuf import json_format
from onnx import numpy_helper
from onnx.utils import Extractor
from strata.v1 import catalog_pb2, manifest_pb2
from strata_training import export, parity
from strata_training.conversion import OPSET, check, convert
from strata_training.errors import Mismatch, ParityMiss, Unsupported
from strata_training.manifest import KEY
from strata_training.networks import GENERAL_TOLERANCE, Tolerance
from strata_training.records import Record
from strata_training.sources import Source, open_source
from strata_training.trace import Trace, trace
from training.workplace import Invoke, Workplace

LAYERS = ["conv1", "pool1", "conv2", "pool2", "flatten", "dense1", "dropout", "predictions"]


@pytest.fixture
def manifest(model: onnx.ModelProto) -> manifest_pb2.Manifest:
    (entry,) = model.metadata_props
    assert entry.key == "strata.manifest"
    return json_format.Parse(entry.value, manifest_pb2.Manifest())


@pytest.fixture
def record(finished: Workplace) -> Record:
    return finished.run.record


def shapes_of(values: list[onnx.ValueInfoProto]) -> dict[str, list[int | str]]:
    return {value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim] for value in values}


def perturb(model: onnx.ModelProto, constant: str, change: float) -> None:
    """Change every other number of a constant: a single one may meet nothing but zeros."""
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == constant)
    values = numpy_helper.to_array(tensor).copy()
    values.flat[::2] += change
    tensor.CopyFrom(numpy_helper.from_array(values, constant))


def weight_of(model: onnx.ModelProto, layer: str) -> str:
    """Return the name of the constant that a layer's convolution or product takes."""
    node = next(n for n in model.graph.node if n.op_type in ("Conv", "MatMul") and n.name.startswith(f"{layer}/"))
    return str(node.input[1])


def test_every_layer_is_an_output_under_its_keras_name(model: onnx.ModelProto) -> None:
    assert shapes_of(list(model.graph.input)) == {"image": ["batch", 28, 28, 1]}
    assert shapes_of(list(model.graph.output)) == {
        "conv1": ["batch", 28, 28, 25],
        "pool1": ["batch", 14, 14, 25],
        "conv2": ["batch", 14, 14, 50],
        "pool2": ["batch", 7, 7, 50],
        "flatten": ["batch", 2450],
        "dense1": ["batch", 128],
        "dropout": ["batch", 128],
        "predictions": ["batch", 10],
    }


def test_the_graph_is_valid_onnx_of_one_operator_set(model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", OPSET)]
    assert {node.domain for node in model.graph.node} == {""}


@pytest.mark.parametrize("entry", ["image", *LAYERS[:-1]])
def test_a_slice_can_enter_at_every_layer(model: onnx.ModelProto, entry: str) -> None:
    # The extractor does not complain when something is missing; the checker does.
    part = Extractor(model).extract_model([entry], ["predictions"])
    onnx.checker.check_model(part, full_check=True)
    assert len(part.graph.node) < len(model.graph.node) or entry == "image"
    behind = set(LAYERS[: LAYERS.index(entry) + 1]) if entry != "image" else set()
    assert not {node.name.partition("/")[0] for node in part.graph.node} & behind


def test_what_is_inside_a_layer_has_the_layers_name_before_it(model: onnx.ModelProto) -> None:
    assert {node.name.partition("/")[0] for node in model.graph.node} == set(LAYERS)
    assert {tensor.name.partition("/")[0] for tensor in model.graph.initializer} < set(LAYERS)


def test_the_manifest_has_every_layer(manifest: manifest_pb2.Manifest) -> None:
    assert (manifest.format, list(manifest.inputs)) == (1, ["image"])
    assert [layer.name for layer in manifest.layers] == ["image", *LAYERS]
    assert [layer.name for layer in manifest.layers if layer.default_exit] == ["predictions"]
    assert sum(layer.parameters for layer in manifest.layers) == 250 + 11_300 + 313_728 + 1_290


def test_the_manifest_tells_how_a_picture_becomes_an_input(manifest: manifest_pb2.Manifest) -> None:
    rule = manifest.preprocessing
    assert (rule.input, rule.color) == ("image", catalog_pb2.COLOR_GRAYSCALE)
    assert (rule.resampling, rule.scale) == (catalog_pb2.RESAMPLING_BILINEAR, 1 / 255)
    assert (len(rule.means), len(rule.deviations)) == (0, 0)
    assert list(manifest.classes) == list("0123456789")


def test_the_manifest_tells_what_the_training_reached(manifest: manifest_pb2.Manifest, record: Record) -> None:
    figures, reached = manifest.training, record.training
    assert (figures.data, figures.network, figures.seed) == ("digits", "cnn", 0)
    assert (figures.data_digest, figures.epochs) == (reached.data_digest, 1)
    assert (figures.training_rows, figures.test_rows) == (reached.training_rows, reached.test_rows)
    assert (figures.test_accuracy, figures.test_loss) == (reached.test_accuracy, reached.test_loss)


def test_the_manifest_names_the_libraries(manifest: manifest_pb2.Manifest) -> None:
    versions = dict(manifest.library_versions)
    assert {"keras", "tensorflow", "tf2onnx", "onnx", "onnxruntime"} <= versions.keys()
    assert versions == {name: importlib.metadata.version(name) for name in versions}


def test_the_manifest_holds_the_parity_of_every_layer(manifest: manifest_pb2.Manifest) -> None:
    assert [row.layer for row in manifest.parity] == LAYERS
    for row in manifest.parity:
        assert row.largest_difference <= row.tolerance == 1e-5
        assert row.largest_magnitude > 0


@pytest.mark.usefixtures("workplace")
def test_each_layer_agrees_with_keras_on_rows_that_the_export_never_saw(
    model: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parity, "BATCH_SIZES", (3, 17))
    monkeypatch.setattr(parity, "_SEED", 99)
    rows = parity.measure(trace(open_source("digits").model), model, Tolerance(absolute=1e-5, relative=0))
    assert [row.layer for row in rows] == LAYERS
    assert max(row.largest_difference for row in rows) <= 1e-5


def test_the_same_weights_give_the_same_bytes(workplace: Workplace) -> None:
    again = export.convert_source(open_source("digits")).model.SerializeToString(deterministic=True)
    assert again == workplace.artifact.read_bytes()


def test_nothing_in_the_file_names_this_machine(workplace: Workplace) -> None:
    content = workplace.artifact.read_bytes()
    for place in (workplace.folder, Path.home(), Path(export.__file__).parent):
        assert str(place).encode() not in content


def test_another_kind_of_network_is_held_to_the_general_tolerance(small_model: keras.Model) -> None:
    candidate = export.convert_source(Source(small_model))
    for row in candidate.comparison.parity:
        assert row.tolerance == pytest.approx(1e-6 + 1e-4 * row.largest_magnitude)
        assert parity.holds(row)


def test_a_model_from_a_file_has_no_classes_preprocessing_or_figures(small_model: keras.Model) -> None:
    model = export.convert_source(Source(small_model)).model
    manifest = json_format.Parse(model.metadata_props[0].value, manifest_pb2.Manifest())
    assert not manifest.classes
    assert not manifest.HasField("preprocessing")
    assert not manifest.HasField("training")
    assert {layer.name for layer in manifest.layers if layer.default_exit} == {"scores", "average"}


def test_a_constant_that_a_layer_keeps_outside_its_weights_is_exported() -> None:
    entry = keras.Input((4, 4, 2), name="image")
    # Given statistics are plain tensors to TensorFlow, no variables.
    normalize = keras.layers.Normalization(mean=[1.0, 2.0], variance=[4.0, 9.0], name="normalize")
    candidate = export.convert_source(Source(keras.Model(entry, normalize(entry))))
    parity.require(candidate.comparison.parity)
    assert [entry.name for entry in candidate.model.graph.input] == ["image"]


def test_a_model_with_two_inputs_keeps_their_names() -> None:
    left, right = keras.Input((3,), name="left"), keras.Input((3,), name="right")
    minus = keras.layers.Subtract(name="minus")([right, left])
    candidate = export.convert_source(Source(keras.Model([left, right], minus)))
    parity.require(candidate.comparison.parity)
    assert [entry.name for entry in candidate.model.graph.input] == ["left", "right"]


def test_a_layer_without_a_form_in_onnx_is_named() -> None:
    class Quantile(keras.layers.Layer):  # type: ignore[misc] # Keras has no types
        def call(self, values: tf.Tensor) -> tf.Tensor:
            return tf.math.ndtri(values)

    entry = keras.Input((4,), name="image")
    with pytest.raises(Unsupported, match=r"layer 'odd' has no form in ONNX"):
        convert(trace(keras.Model(entry, Quantile(name="odd")(entry))))


def test_a_grouped_convolution_is_converted() -> None:
    entry = keras.Input((4, 4, 4), name="image")
    check(convert(trace(keras.Model(entry, keras.layers.Conv2D(4, 3, groups=2, name="grouped")(entry)))))


def test_a_layer_that_the_converter_fails_on_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyError("some inner matter")

    monkeypatch.setattr(tf2onnx.convert, "from_function", fail)
    entry = keras.Input((4,), name="image")
    with pytest.raises(Unsupported, match=r"layer 'scores' cannot be converted: 'some inner matter'"):
        convert(trace(keras.Model(entry, keras.layers.Dense(2, name="scores")(entry))))


def test_a_graph_that_is_no_valid_onnx_is_refused(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 27
    with pytest.raises(Unsupported, match=r"gave no valid ONNX"):
        check(model)


@pytest.mark.usefixtures("workplace")
def test_a_weight_that_is_off_misses_parity_from_its_layer_on(model: onnx.ModelProto) -> None:
    perturb(model, weight_of(model, "conv2"), 1e-3)
    rows = parity.measure(trace(open_source("digits").model), model, Tolerance(absolute=1e-5, relative=0))
    missed = [row.layer for row in rows if not parity.holds(row)]
    assert missed[0] == "conv2"
    assert not {"conv1", "pool1"} & set(missed)
    with pytest.raises(ParityMiss, match=r"the worst is '\w+': expected at most 1e-05, received "):
        parity.require(rows)


@pytest.mark.usefixtures("workplace")
def test_an_export_that_misses_parity_fails_and_leaves_nothing(
    strata_train: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def convert_badly(network: Trace) -> onnx.ModelProto:
        model = convert(network)
        perturb(model, weight_of(model, "predictions"), 1.0)
        return model

    monkeypatch.setattr(export, "convert", convert_badly)
    result = strata_train("export", "--from", "digits", "--model", "digits", "--models", tmp_path / "models")
    assert result.exit_code == 1
    assert "NO" in result.stdout
    assert "the worst is 'predictions'" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("workplace")
def test_a_nan_is_a_miss(model: onnx.ModelProto) -> None:
    perturb(model, weight_of(model, "dense1"), float("nan"))
    rows = parity.measure(trace(open_source("digits").model), model, GENERAL_TOLERANCE)
    with pytest.raises(ParityMiss, match="received nan"):
        parity.require(rows)


@pytest.mark.usefixtures("workplace")
def test_a_batch_that_is_written_into_the_graph_is_seen(model: onnx.ModelProto) -> None:
    # What an exporter does that has seen one row alone: right for a batch of 1, wrong for any other.
    node = next(node for node in model.graph.node if node.name.startswith("flatten/"))
    shape = next(tensor for tensor in model.graph.initializer if tensor.name == node.input[1])
    shape.CopyFrom(numpy_helper.from_array(np.array([1, 2450]), shape.name))
    with pytest.raises(Mismatch, match="cannot be run"):
        parity.measure(trace(open_source("digits").model), model, GENERAL_TOLERANCE)


def test_values_of_another_shape_are_a_miss_even_where_they_could_be_broadcast() -> None:
    value = np.ones((5, 1), np.float32)
    assert parity._difference(value, np.ones((5, 5), np.float32)) == float("inf")


def test_the_metadata_holds_the_manifest_alone(model: onnx.ModelProto) -> None:
    assert {entry.key for entry in model.metadata_props} == {KEY}
    assert not model.doc_string
    assert not any(node.doc_string for node in model.graph.node)
