"""What a model's folder may say of how it is served, and what is refused."""

import json
import os
import re
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from artifacts import write_artifact
from google.protobuf.descriptor import Descriptor
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from strata_server.artifact import read_artifact
from strata_server.catalog import Catalog, Layer
from strata_server.configuration import config_pbtxt, strata_toml
from strata_server.configuration.agreement import check_settings
from strata_server.configuration.folder import LARGEST_BYTES
from strata_server.configuration.model_config_pb2 import DESCRIPTOR
from strata_server.configuration.model_settings import ModelSettings, TensorDeclaration, VersionPolicy
from strata_server.configuration.sources import FILES, read_model_settings
from strata_server.datatypes import DATATYPES
from strata_server.errors import ArtifactError
from tritonclient.grpc import model_config_pb2 as triton

TOML, PBTXT = strata_toml.FILE, config_pbtxt.FILE
# protobuf leaves escapes to a codec of Python, which warns of what it takes as it stands.
ESCAPES = "ignore:.*escape sequence:DeprecationWarning"
DOCS = Path(__file__).resolve().parents[2] / "docs" / "repository.md"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a model `tiny`, with label files beside."""
    folder = tmp_path / "models" / "tiny"
    folder.mkdir(parents=True)
    (folder / "classes.txt").write_text("round\nsquare\nstar\n")
    return folder


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """The catalog of the tiny artifact: image (-1,4,4,1) to predictions (-1,3)."""
    return read_artifact(write_artifact(tmp_path_factory.mktemp("models"))).catalog


def read(folder: Path, file: str, text: str | bytes) -> ModelSettings:
    (folder / file).write_bytes(text.encode() if isinstance(text, str) else text)
    return read_model_settings(folder)


def refusal(folder: Path, file: str, text: str | bytes) -> str:
    with pytest.raises(ArtifactError) as caught:
        read(folder, file, text)
    return str(caught.value)


def test_a_model_without_a_file_has_all_its_versions_served(folder: Path) -> None:
    settings = read_model_settings(folder)
    assert settings == ModelSettings()
    assert settings.versions.choose([3, 1]) == [1, 3]
    assert settings.joins_requests


def test_a_strata_toml_says_everything(folder: Path) -> None:
    text = """
        versions = { latest = 2 }
        labels = { stable = 1, canary = 3, "v1.2_b-c" = 1 }
        label_file = "classes.txt"
        [batch]
        rows = 32
        wait_us = 200
        [parameters]
        owner = "vision"
    """
    assert read(folder, TOML, text) == ModelSettings(
        declared_in=TOML,
        versions=VersionPolicy(latest=2),
        labels={"stable": 1, "canary": 3, "v1.2_b-c": 1},
        batch_rows=32,
        batch_wait_us=200,
        classes=("round", "square", "star"),
        label_file="classes.txt",
        parameters={"owner": "vision"},
    )


def test_the_strata_toml_of_the_documentation_is_read(folder: Path) -> None:
    [text] = re.findall(r"```toml\n(.*?)```", DOCS.read_text(), re.DOTALL)
    settings = read(folder, TOML, text)
    assert settings.labels == {"stable": 1, "canary": 3}
    assert settings.batch_rows == 32


def test_a_config_pbtxt_says_everything(folder: Path) -> None:
    text = """
        name: "tiny"
        platform: "onnxruntime_onnx"
        backend: "onnxruntime"
        default_model_filename: "model.onnx"
        version_policy { specific { versions: [3, 1] } }
        max_batch_size: 16
        input [ { name: "image" data_type: TYPE_FP32 format: FORMAT_NHWC dims: [4, 4, 1] } ]
        output [ { name: "predictions" data_type: TYPE_FP32 dims: 3 label_filename: "classes.txt" },
                 { name: "scores" data_type: TYPE_INVALID } ]
        instance_group [ { name: "tiny_0" count: 1 kind: KIND_CPU } ]
        dynamic_batching { preferred_batch_size: [4, 8] max_queue_delay_microseconds: 100 }
        model_transaction_policy { decoupled: false }
        parameters { key: "owner" value { string_value: "vision" } }
    """
    assert read(folder, PBTXT, text) == ModelSettings(
        declared_in=PBTXT,
        versions=VersionPolicy(specific=(1, 3)),
        has_batch=True,
        batch_rows=8,
        batch_wait_us=100,
        classes=("round", "square", "star"),
        label_file="classes.txt",
        classes_of="predictions",
        inputs=(TensorDeclaration("image", "FP32", (4, 4, 1), 2),),
        outputs=(TensorDeclaration("predictions", "FP32", (3,)), TensorDeclaration("scores")),
        device="cpu",
        parameters={"owner": "vision"},
    )


def test_an_empty_file_says_little(folder: Path) -> None:
    assert read(folder, TOML, "") == ModelSettings(declared_in=TOML)
    (folder / TOML).unlink()
    # Triton serves the latest version where its file does not say otherwise.
    assert read(folder, PBTXT, "") == ModelSettings(declared_in=PBTXT, versions=VersionPolicy(latest=1))


@pytest.mark.parametrize(
    ("text", "joins", "rows", "wait_us"),
    [
        ("", True, 0, None),
        ("max_batch_size: 0", False, 0, None),
        ("max_batch_size: 8", True, 8, None),
        ("dynamic_batching {}", True, 0, 0),
        ("max_batch_size: 8 dynamic_batching { max_queue_delay_microseconds: 5 }", True, 8, 5),
    ],
)
def test_a_largest_batch_of_0_keeps_requests_apart(
    folder: Path, text: str, joins: bool, rows: int, wait_us: int | None
) -> None:
    settings = read(folder, PBTXT, text)
    assert (settings.joins_requests, settings.batch_rows, settings.batch_wait_us) == (joins, rows, wait_us)


REFUSED_TOML = {
    "an unknown field": (
        "version = 1",
        "strata.toml: expected a field that is honored, received 'version', perhaps 'versions'; honored: batch, label_file, labels, parameters, versions",
    ),
    "an unknown field of batch": (
        "[batch]\nrow = 1",
        "strata.toml: batch: expected a field that is honored, received 'row', perhaps 'rows'",
    ),
    "a field like nothing": ("xyz = 1", "received 'xyz'; honored: batch"),
    "a policy that is none": (
        "versions = 'newest'",
        "strata.toml: versions: expected \"all\", { latest = 2 } or a list such as [1, 3], received 'newest'",
    ),
    "a policy of another table": ("versions = { newest = 2 }", 'strata.toml: versions: expected "all"'),
    "a policy of two": ("versions = { latest = 2, all = true }", 'strata.toml: versions: expected "all"'),
    "the latest none": (
        "versions = { latest = 0 }",
        "strata.toml: versions.latest: expected a whole number from 1 to 10000, received 0",
    ),
    "the latest half": ("versions = { latest = 0.5 }", "received 0.5"),
    "no versions": (
        "versions = []",
        "strata.toml: versions: expected the numbers of versions, each once, received none",
    ),
    "a version twice": ("versions = [1, 2, 1]", "received one of them twice"),
    "a version 0": ("versions = [0]", "expected a whole number from 1 to 999999999999999999, received 0"),
    "a version that is a text": ("versions = ['1']", "received '1'"),
    "a version that is true": ("versions = [true]", "received True"),
    "too many versions": (
        f"versions = {list(range(1, 10_002))}",
        "strata.toml: versions: expected at most 10000 versions, received 10001",
    ),
    "labels that are no table": ("labels = 'stable'", "strata.toml: labels: expected a table, received 'stable'"),
    "a label that is a number": (
        "labels = { 1 = 2 }",
        "expected a label of 1 to 64 letters, digits, '.', '_' or '-', a letter first, received '1'",
    ),
    "a label with a space": ("labels = { 'a b' = 2 }", "received 'a b'"),
    "a label that is too long": (f"labels = {{ {'a' * 65} = 2 }}", "expected a label of 1 to 64"),
    "a label of nothing": ("labels = { '' = 2 }", "received ''"),
    "a label of a text": (
        "labels = { stable = '2' }",
        "strata.toml: labels.stable: expected a whole number from 1 to 999999999999999999, received '2'",
    ),
    "a batch that is no table": ("batch = 3", "strata.toml: batch: expected a table, received 3"),
    "too many rows": (
        "[batch]\nrows = 65537",
        "strata.toml: batch.rows: expected a whole number from 0 to 65536, received 65537",
    ),
    "rows below 0": ("[batch]\nrows = -1", "received -1"),
    "a wait that is too long": (
        "[batch]\nwait_us = 1_000_001",
        "strata.toml: batch.wait_us: expected a whole number from 0 to 1000000, received 1000001",
    ),
    "a wait that is a date": ("[batch]\nwait_us = 2026-11-25", "received 2026-11-25"),
    "a parameter that is a number": (
        "[parameters]\nowner = 1",
        "strata.toml: parameters.owner: expected a text in quotes, received 1",
    ),
    "a label file that is a number": (
        "label_file = 1",
        "strata.toml: label_file: expected a text in quotes, received 1",
    ),
    "a label file that is not there": (
        "label_file = 'none.txt'",
        "strata.toml: label_file: expected a file 'none.txt' in the model's folder, found none",
    ),
    "what is no TOML": ("versions: all", "strata.toml: it is not TOML: Expected '=' after a key"),
    "brackets without end": ("x = " + "[" * 50_000, "strata.toml: it is not TOML"),
    "a number without end": ("versions = " + "1" * 10_000, "strata.toml: it is not TOML"),
    "bytes that are no text": (b"owner = '\xff'", "strata.toml: expected UTF-8, received other bytes from byte 9 on"),
    "too many bytes": (b"#" * (LARGEST_BYTES + 1), "strata.toml: expected at most 262144 bytes, received more"),
}

REFUSED_PBTXT = {
    "an unknown field": (
        "name: 'tiny'\n\noptimization { }",
        "config.pbtxt: line 3: expected a field that is honored, received 'optimization'; honored: backend, default_model_filename, dynamic_batching, input,",
    ),
    "a field with a slip": ("max_batchsize: 3", "received 'max_batchsize', perhaps 'max_batch_size'"),
    "an unknown field of an input": (
        "input {\n name: 'image'\n reshape { } }",
        "config.pbtxt: line 3: ModelInput: expected a field that is honored, received 'reshape'; honored: data_type, dims, format, name",
    ),
    "an unknown field of a policy": (
        "version_policy { latest { count: 1 } }",
        "line 1: ModelVersionPolicy.Latest: expected a field that is honored, received 'count'; honored: num_versions",
    ),
    "an unknown field of the batches": (
        "dynamic_batching { priority_levels: 2 }",
        "ModelDynamicBatching: expected a field that is honored, received 'priority_levels'; honored: max_queue_delay_microseconds, preferred_batch_size",
    ),
    "an unknown field of an instance": (
        "instance_group { gpus: 0 }",
        "ModelInstanceGroup: expected a field that is honored, received 'gpus'; honored: count, kind, name",
    ),
    "sequences": ("sequence_batching { }", "received 'sequence_batching'"),
    "an extension": ("[a.b] { }", "config.pbtxt: line 1: "),
    "another name": ("name: 'other'", "config.pbtxt: name: expected 'tiny', received 'other'"),
    "another platform": (
        "platform: 'tensorrt_plan'",
        "config.pbtxt: platform: expected 'onnxruntime_onnx', received 'tensorrt_plan'",
    ),
    "another backend": ("backend: '../evil'", "config.pbtxt: backend: expected 'onnxruntime', received '../evil'"),
    "another file": (
        "default_model_filename: '/etc/passwd'",
        "config.pbtxt: default_model_filename: expected 'model.onnx', received '/etc/passwd'",
    ),
    "many responses": (
        "model_transaction_policy { decoupled: true }",
        "config.pbtxt: model_transaction_policy.decoupled: expected false, one response to each request, received true",
    ),
    "the latest none": (
        "version_policy { latest { } }",
        "config.pbtxt: version_policy.latest.num_versions: expected a whole number from 1 to 10000, received 0",
    ),
    "no versions": (
        "version_policy { specific { } }",
        "config.pbtxt: version_policy.specific.versions: expected the numbers of versions, each once, received none",
    ),
    "a version -1": ("version_policy { specific { versions: -1 } }", "received -1"),
    "two policies": (
        "version_policy { all { } latest { num_versions: 1 } }",
        'line 1: Field "latest" is specified along with field "all"',
    ),
    "a batch below 0": (
        "max_batch_size: -1",
        "config.pbtxt: max_batch_size: expected a whole number from 0 to 65536, received -1",
    ),
    "a batch beyond a number": ("max_batch_size: 99999999999", "config.pbtxt: line 1: Value out of range: 99999999999"),
    "a preferred batch that is too large": (
        "max_batch_size: 4 dynamic_batching { preferred_batch_size: 5 }",
        "config.pbtxt: dynamic_batching.preferred_batch_size: expected a whole number from 1 to 4, received 5",
    ),
    "a preferred batch alone": (
        "dynamic_batching { preferred_batch_size: 5 }",
        "dynamic_batching.preferred_batch_size: expected a max_batch_size beside it, received none, or 0",
    ),
    "a wait that is too long": (
        "dynamic_batching { max_queue_delay_microseconds: 1000001 }",
        "dynamic_batching.max_queue_delay_microseconds: expected a whole number from 0 to 1000000, received 1000001",
    ),
    "two groups": (
        "instance_group { } instance_group { }",
        "config.pbtxt: instance_group: expected one group: one session runs all requests, received 2",
    ),
    "two instances": (
        "instance_group { count: 2 }",
        "config.pbtxt: instance_group[0].count: expected 1: one session runs all requests, received 2",
    ),
    "an instance of the model's own": (
        "instance_group { kind: KIND_MODEL }",
        "config.pbtxt: instance_group[0].kind: expected KIND_AUTO, KIND_CPU or KIND_GPU, received KIND_MODEL",
    ),
    "an instance of a kind to come": (
        "instance_group { kind: 9 }",
        "config.pbtxt: instance_group[0].kind: expected KIND_AUTO, KIND_CPU or KIND_GPU, received 9",
    ),
    "an instance of no kind": ("instance_group { kind: KIND_X }", "has no value named KIND_X"),
    "an input without a name": ("input { dims: 1 }", "config.pbtxt: input[0].name: expected a name, received none"),
    "an input twice": (
        "input { name: 'a' } input { name: 'a' }",
        "config.pbtxt: input: expected each name once, received one of them twice",
    ),
    "an output twice": ("output { name: 'a' } output { name: 'a' }", "config.pbtxt: output: expected each name once"),
    "a type to come": (
        "input { name: 'a' data_type: 99 }",
        "config.pbtxt: input[0].data_type: expected a TYPE_ of Triton's, received 99",
    ),
    "a size of 0": (
        "output { name: 'a' dims: [1, 0] }",
        "config.pbtxt: output[0].dims: expected sizes from 1 to 2147483647, or -1 for an open one, received 0",
    ),
    "a size of -2": ("output { name: 'a' dims: -2 }", "received -2"),
    "too many sizes": (
        f"output {{ name: 'a' dims: {[1] * 17} }}",
        "config.pbtxt: output[0].dims: expected at most 16 sizes, received 17",
    ),
    "a format without sizes": (
        "input { name: 'a' format: FORMAT_NCHW }",
        "config.pbtxt: input[0].format: expected none, or three dims beside it, received 0 dims",
    ),
    "a format of two sizes": ("input { name: 'a' format: FORMAT_NHWC dims: [1, 2] }", "received 2 dims"),
    "a format to come": (
        "input { name: 'a' format: 9 dims: [1, 2, 3] }",
        "expected FORMAT_NONE, FORMAT_NHWC or FORMAT_NCHW, received 9",
    ),
    "two label files": (
        "output { name: 'a' label_filename: 'classes.txt' } output { name: 'b' label_filename: 'classes.txt' }",
        "config.pbtxt: output: expected one output with a label_filename, received 2",
    ),
    "a label file that is not there": (
        "output { name: 'a' label_filename: 'none.txt' }",
        "config.pbtxt: output[0].label_filename: expected a file 'none.txt' in the model's folder, found none",
    ),
    "a field twice": (
        "name: 'tiny' name: 'tiny'",
        'line 1: Message type "inference.ModelConfig" should not have multiple "name" fields.',
    ),
    "an escape of no character": (r"name: '\777'", "config.pbtxt: "),
    "what is no text of a message": ("{ name = tiny }", "config.pbtxt: line 1: "),
    "bytes that are no text": (b"name: '\xff'", "config.pbtxt: expected UTF-8, received other bytes from byte 7 on"),
    "too many bytes": (b"#" * (LARGEST_BYTES + 1), "config.pbtxt: expected at most 262144 bytes, received more"),
}


@pytest.mark.filterwarnings(ESCAPES)
@pytest.mark.parametrize(
    ("file", "text", "message"),
    [(TOML, *case) for case in REFUSED_TOML.values()] + [(PBTXT, *case) for case in REFUSED_PBTXT.values()],
    ids=[f"{file}: {name}" for file, cases in ((TOML, REFUSED_TOML), (PBTXT, REFUSED_PBTXT)) for name in cases],
)
def test_what_cannot_be_meant_is_refused(folder: Path, file: str, text: str | bytes, message: str) -> None:
    told = refusal(folder, file, text)
    assert message in told
    assert told.startswith(file)
    assert len(told) < 500
    assert told.isprintable()


def test_both_files_together_are_refused(folder: Path) -> None:
    (folder / TOML).touch()
    assert refusal(folder, PBTXT, "") == "expected strata.toml or config.pbtxt, received both"


@pytest.mark.parametrize(
    "name", ["../labels.txt", "/etc/passwd", "a/b", "", ".", "..", ".hidden", "a\\b", "a\0b", "a" * 129]
)
def test_a_label_file_is_named_by_its_bare_name(folder: Path, name: str) -> None:
    told = refusal(folder, TOML, f"label_file = {json.dumps(name)}")
    assert "strata.toml: label_file: expected the bare name of a file beside it" in told


@pytest.mark.parametrize("file", [TOML, PBTXT, "classes.txt"])
@pytest.mark.parametrize("form", ["a link", "a folder", "a pipe"])
def test_only_regular_files_are_read(folder: Path, file: str, form: str) -> None:
    (folder / TOML).write_text("label_file = 'classes.txt'")
    if file == PBTXT:
        (folder / TOML).unlink()
    (folder / file).unlink(missing_ok=True)
    match form:
        case "a link":
            (folder / "real").write_text("")
            (folder / file).symlink_to("real")
        case "a folder":
            (folder / file).mkdir()
        case "a pipe":
            os.mkfifo(folder / file)
    with pytest.raises(ArtifactError, match=f"{re.escape(file)}: expected a regular file"):
        read_model_settings(folder)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("", "received none on line 1"),
        ("\n", "received none on line 1"),
        ("a\n\nb\n", "received none on line 2"),
        ("a\n \n", "received none on line 2"),
        (b"a\n\xff\n", "classes.txt: expected UTF-8, received other bytes from byte 2 on"),
        (b"a" * (LARGEST_BYTES + 1), "classes.txt: expected at most 262144 bytes"),
    ],
)
def test_a_label_file_has_a_class_on_each_line(folder: Path, labels: str | bytes, message: str) -> None:
    (folder / "classes.txt").write_bytes(labels.encode() if isinstance(labels, str) else labels)
    assert message in refusal(folder, TOML, "label_file = 'classes.txt'")


def test_classes_may_hold_any_marks(folder: Path) -> None:
    (folder / "classes.txt").write_bytes("  señal, roja \r\n<b>\u2028x\n#3".encode())
    assert read(folder, TOML, "label_file = 'classes.txt'").classes == ("señal, roja", "<b>\u2028x", "#3")


def test_versions_that_are_asked_for_and_not_there_are_told(folder: Path) -> None:
    settings = read(folder, TOML, "versions = [1, 3, 9]\nlabels = { stable = 1, canary = 9 }")
    assert settings.versions.choose([3, 2, 1]) == [1, 3]
    assert settings.versions.find_missing([3, 2, 1]) == [9]
    assert settings.find_missing([1, 3]) == {"canary": 9}
    assert VersionPolicy(latest=2).choose([]) == []
    assert VersionPolicy().find_missing([]) == []


AGREED = [
    "",
    "input { name: 'image' }",
    "input { name: 'image' data_type: TYPE_FP32 dims: [-1, 4, 4, 1] }",
    "input { name: 'image' dims: [8, 4, -1, 1] }",
    "max_batch_size: 8 input { name: 'image' data_type: TYPE_FP32 dims: [4, 4, 1] format: FORMAT_NHWC }",
    "output { name: 'predictions' data_type: TYPE_FP32 dims: [-1, 3] } output { name: 'flat' dims: [-1, 16] }",
    "max_batch_size: 8 output { name: 'scores' dims: 3 }",
    "output { name: 'predictions' label_filename: 'classes.txt' }",
    "instance_group { kind: KIND_CPU }",
    "instance_group { }",
]

REFUSED = {
    "input { name: 'picture' }": "config.pbtxt: input: expected the network's inputs, 'image'; received 'picture'",
    "input { name: 'flat' }": "config.pbtxt: input: expected the network's inputs, 'image'; received 'flat'",
    "input { name: 'image' data_type: TYPE_UINT8 }": "config.pbtxt: input 'image': data_type: the network has FP32, received UINT8",
    "input { name: 'image' data_type: TYPE_STRING }": "the network has FP32, received BYTES",
    "input { name: 'image' dims: [4, 4, 1] }": "config.pbtxt: input 'image': dims: the network has [-1, 4, 4, 1], received [4, 4, 1]",
    "input { name: 'image' dims: [-1, 4, 5, 1] }": "the network has [-1, 4, 4, 1], received [-1, 4, 5, 1]",
    "max_batch_size: 8 input { name: 'image' dims: [-1, 4, 4, 1] }": "the network has [4, 4, 1] without the batch, received [-1, 4, 4, 1]",
    "max_batch_size: 8 input { name: 'image' dims: [4, 4, 1] format: FORMAT_NCHW }": "config.pbtxt: input 'image': format: the network has its channels in dimension 3, received 1",
    "output { name: 'prediction' }": "config.pbtxt: output: unknown layer 'prediction'; nearest: 'predictions'",
    "output { name: 'predictions' dims: [-1, 4] }": "config.pbtxt: output 'predictions': dims: the network has [-1, 3], received [-1, 4]",
    "output { name: 'scores' label_filename: 'classes.txt' }": "config.pbtxt: label_filename: expected it with the prediction, 'predictions', received 'scores'",
    "output { name: 'predictions' label_filename: 'two.txt' }": "config.pbtxt: its label file names 2 classes; expected a prediction of one layer of shape (-1, 2), received 'predictions' (-1, 3)",
    "instance_group { kind: KIND_GPU }": "config.pbtxt: instance_group[0].kind: expected one for cpu, received cuda",
}


@pytest.mark.parametrize("text", AGREED)
def test_a_configuration_that_is_so_is_taken(folder: Path, catalog: Catalog, text: str) -> None:
    check_settings(read(folder, PBTXT, text), catalog, "cpu")


@pytest.mark.parametrize("text", REFUSED)
def test_a_configuration_that_the_artifact_contradicts_is_refused(folder: Path, catalog: Catalog, text: str) -> None:
    (folder / "two.txt").write_text("a\nb\n")
    with pytest.raises(ArtifactError) as caught:
        check_settings(read(folder, PBTXT, text), catalog, "cpu")
    assert REFUSED[text] in str(caught.value)


def test_an_input_that_is_not_declared_beside_others_is_named() -> None:
    declared = TensorDeclaration("image")
    with pytest.raises(ArtifactError, match="expected all of the network's inputs or none, 'mask' is missing"):
        check_settings(ModelSettings(declared_in=PBTXT, inputs=(declared,)), two_inputs(), "cpu")


def two_inputs() -> Catalog:
    layers = [catalog_layer("image", (-1, 4), default_exit=False), catalog_layer("mask", (4,), default_exit=True)]
    return Catalog(layers, ["image", "mask"])


def catalog_layer(name: str, shape: tuple[int, ...], *, default_exit: bool) -> Layer:
    return Layer(name, "InputLayer", shape, np.dtype(np.float32), 0, 0, 0, default_exit)


def test_a_batch_is_not_taken_from_a_layer_without_one(folder: Path) -> None:
    settings = read(folder, PBTXT, "max_batch_size: 8 output { name: 'mask' dims: 4 }")
    with pytest.raises(ArtifactError, match=r"config.pbtxt: max_batch_size: expected 0, output 'mask' of the network"):
        check_settings(settings, two_inputs(), "cpu")


def test_types_have_the_words_of_the_protocol() -> None:
    words = {
        np.bool_: "BOOL",
        np.uint8: "UINT8",
        np.int64: "INT64",
        np.float16: "FP16",
        np.float64: "FP64",
        np.object_: "BYTES",
        ml_dtypes.bfloat16: "BF16",
    }
    assert {kind: DATATYPES[np.dtype(kind)] for kind in words} == words


def test_fields_have_the_numbers_and_kinds_of_tritons_own() -> None:
    def compare(ours: Descriptor, theirs: Descriptor) -> None:
        for name, field in ours.fields_by_name.items():
            other = theirs.fields_by_name[name]
            assert (field.number, field.type, field.is_repeated) == (other.number, other.type, other.is_repeated), name
        for name, message in ours.nested_types_by_name.items():
            compare(message, theirs.nested_types_by_name[name])
        for name, enum in ours.enum_types_by_name.items():
            values = {value.name: value.number for value in theirs.enum_types_by_name[name].values}
            assert {value.name: value.number for value in enum.values}.items() <= values.items()

    for name, message in DESCRIPTOR.message_types_by_name.items():
        compare(message, triton.DESCRIPTOR.message_types_by_name[name])
    kinds = {value.name: value.number for value in triton.DESCRIPTOR.enum_types_by_name["DataType"].values}
    assert {value.name: value.number for value in DESCRIPTOR.enum_types_by_name["DataType"].values} == kinds


def test_every_field_that_is_honored_is_documented() -> None:
    text = DOCS.read_text()
    honored, refused = text.split("## config.pbtxt")[1].split("Refused, with what stands for it")
    refused = refused.split("\n## ")[0]
    for name in DESCRIPTOR.message_types_by_name["ModelConfig"].fields_by_name:
        assert f"`{name}`" in honored, name
    for name in triton.DESCRIPTOR.message_types_by_name["ModelConfig"].fields_by_name:
        assert (f"`{name}`" in honored) != (f"`{name}`" in refused) or name in {
            "dynamic_batching",
            "instance_group",
            "input",
            "output",
        }, name
    for name in (*strata_toml.FIELDS, *(f"batch.{name}" for name in strata_toml.BATCH_FIELDS)):
        assert name == "batch" or f"| `{name}` |" in text, name


NAMES = st.text(max_size=8)
POLICIES = st.one_of(
    st.just(VersionPolicy()),
    st.integers(1, 9).map(lambda count: VersionPolicy(latest=count)),
    st.sets(st.integers(1, 99), min_size=1).map(lambda numbers: VersionPolicy(specific=tuple(sorted(numbers)))),
)
TENSORS = st.builds(
    TensorDeclaration,
    name=NAMES,
    datatype=st.sampled_from(["", "FP32", "BYTES"]),
    dims=st.none() | st.lists(st.integers(-1, 99)).map(tuple),
    channel_axis=st.none() | st.integers(0, 3),
)
SETTINGS = st.builds(
    ModelSettings,
    declared_in=st.sampled_from(["", *FILES]),
    versions=POLICIES,
    labels=st.dictionaries(NAMES, st.integers(1, 10**18 - 1)),
    joins_requests=st.booleans(),
    has_batch=st.booleans(),
    batch_rows=st.integers(0, 65536),
    batch_wait_us=st.none() | st.integers(0, 10**6),
    classes=st.lists(NAMES).map(tuple),
    classes_of=NAMES,
    inputs=st.lists(TENSORS, max_size=3).map(tuple),
    outputs=st.lists(TENSORS, max_size=3).map(tuple),
    device=st.sampled_from(["", "cpu", "cuda"]),
    parameters=st.dictionaries(NAMES, NAMES),
)


@given(SETTINGS)
@hypothesis_settings(max_examples=50)
def test_settings_travel_as_json(settings: ModelSettings) -> None:
    assert ModelSettings.read(json.loads(json.dumps(settings.write()))) == settings


@given(POLICIES, st.sets(st.integers(1, 99)))
def test_a_policy_chooses_among_what_is_there(policy: VersionPolicy, numbers: set[int]) -> None:
    chosen = policy.choose(numbers)
    assert chosen == sorted(chosen)
    assert set(chosen) <= numbers
    assert set(chosen) | set(policy.find_missing(numbers)) >= set(policy.specific)
    if policy.latest and numbers:
        assert chosen[-1] == max(numbers)


# Pieces of both languages, so that what is drawn is now and then nearly right.
PIECES = st.sampled_from(
    ["versions", "labels", "batch", "rows", "parameters", "label_file", "latest", "all", "=", "[", "]", "{", "}", "\n", ",", '"', "'", "1", "-1",
     "name", "tiny", "max_batch_size", "input", "output", "dims", "label_filename", "classes.txt", "instance_group", "kind", "KIND_CPU", "data_type",
     "TYPE_FP32", "dynamic_batching", "preferred_batch_size", "version_policy", "specific", "key", "value", "string_value", ":", " ", "#", "\\", "<", ">"]
)  # fmt: skip
TEXTS = st.one_of(
    st.binary(max_size=200), st.text().map(str.encode), st.lists(PIECES).map(lambda pieces: "".join(pieces).encode())
)


@pytest.mark.filterwarnings(ESCAPES)
@pytest.mark.parametrize("file", FILES)
@given(text=TEXTS)
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
def test_whatever_a_file_holds_is_read_or_refused(folder: Path, file: str, text: bytes) -> None:
    try:
        settings = read(folder, file, text)
    except ArtifactError:
        return
    assert settings.declared_in == file
    assert ModelSettings.read(settings.write()) == settings
