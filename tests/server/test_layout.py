"""Repositories of this project by Triton's rules, and Triton's here: each row of the table in docs/repository.md."""

import json
import os
import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import onnx
import onnxruntime
import pytest
from artifacts import SIDE, assert_close, tiny_answer, tiny_manifest, tiny_model, write_artifact
from google.protobuf import text_format
from processes import serving
from strata.v1 import inference_pb2
from strata_server.artifact import read_artifact
from strata_server.configuration.agreement import check_settings
from strata_server.configuration.model_settings import ModelSettings, VersionPolicy
from strata_server.configuration.sources import read_model_settings
from strata_server.errors import ArtifactError, StartError
from strata_server.layout import Listing, scan
from strata_training.artifacts import choose_version
from strata_training.artifacts import write_artifact as export
from strata_training.folders import fresh_folder
from tritonclient.grpc import model_config_pb2 as triton
from wire import connect
from wire import tensors as wire_tensors

DOCS = Path(__file__).resolve().parents[2] / "docs" / "repository.md"
Rule = Callable[[Path], None]
RULES: dict[str, Rule] = {}


def documented() -> dict[str, str]:
    rows = re.findall(r"^\| (T\d+) \| (.*?) \|", DOCS.read_text(), re.MULTILINE)
    assert rows
    return dict(rows)


def rule(number: str) -> Callable[[Rule], Rule]:
    """Let a function be what shows that a rule of the table is held."""

    def register(function: Rule) -> Rule:
        assert number not in RULES
        RULES[number] = function
        return function

    return register


def exported(models: Path, name: str = "digits", version: int | None = None) -> Path:
    """Write a version as `strata-train export` does, whatever was trained."""
    model = tiny_model()
    onnx.helper.set_model_props(model, {"strata.manifest": json.dumps(tiny_manifest())})
    return export(choose_version(models, name, version), model)


def configured(models: Path, text: str, name: str = "digits") -> ModelSettings:
    """Return what is read of a config.pbtxt, which Triton's own message must take as well."""
    text_format.Parse(text, triton.ModelConfig())
    (models / name).mkdir(parents=True, exist_ok=True)
    (models / name / "config.pbtxt").write_text(text)
    return read_model_settings(models / name)


def refusal(models: Path, text: str) -> str:
    with pytest.raises(ArtifactError) as caught:
        configured(models, text)
    return str(caught.value)


def found(listing: Listing) -> dict[str, list[int]]:
    """Return what can be served, by the layout alone."""
    return {
        name: [number for number, version in model.versions.items() if not version.problem]
        for name, model in listing.models.items()
    }


def triton_reads(models: Path) -> dict[str, dict[int, Path]]:
    """Return what Triton would load, written after its documentation and by nothing of this project."""
    read: dict[str, dict[int, Path]] = {}
    for folder in filter(Path.is_dir, models.iterdir()):
        config = folder / "config.pbtxt"
        if config.exists():
            message = text_format.Parse(config.read_text(), triton.ModelConfig())
            assert message.name in {"", folder.name}
        versions = {}
        for entry in filter(Path.is_dir, folder.iterdir()):
            if re.fullmatch("[1-9][0-9]*", entry.name):
                path = entry / "model.onnx"
                versions[int(entry.name)] = path / "model.onnx" if path.is_dir() else path
        assert versions, f"at least one version must be available of {folder.name}"
        assert all(path.is_file() for path in versions.values())
        read[folder.name] = versions
    return read


def test_each_rule_in_the_documentation_has_its_test() -> None:
    assert sorted(RULES) == sorted(documented())


@pytest.mark.parametrize("number", documented(), ids=lambda number: f"{number}-{documented()[number][:60]}")
def test_a_rule_of_triton_is_held(number: str, tmp_path: Path) -> None:
    RULES[number](tmp_path / "models")


@rule("T1")
def a_repository_holds_folders_of_models(models: Path) -> None:
    models.mkdir()
    assert scan(models) == Listing({})
    for name in ("digits", "segments", "0.1-of_A"):
        exported(models, name)
    (models / "README.md").write_text("no model")
    assert found(scan(models)) == {"0.1-of_A": [1], "digits": [1], "segments": [1]}
    assert triton_reads(models).keys() == scan(models).models.keys()


@rule("T2")
def versions_are_numbers_without_a_zero_before_them(models: Path) -> None:
    for version in ("1", "10", "2", "007", "0", "next", "1.5", "-1"):
        write_artifact(models, "digits", version)
    (models / "digits" / "3").write_text("no folder")
    listing = scan(models)
    assert found(listing) == {"digits": [1, 2, 10]}
    assert triton_reads(models)["digits"].keys() == listing.models["digits"].versions.keys()
    for name in ("007", "0", "next", "1.5", "-1"):
        assert f"'digits': '{name}': expected a number, without zeros before it" in listing.skipped


@rule("T3")
def a_model_has_a_version(models: Path) -> None:
    (models / "empty").mkdir(parents=True)
    (models / "settled").mkdir()
    (models / "settled" / "strata.toml").touch()
    assert found(scan(models)) == {"settled": []}
    with pytest.raises(AssertionError, match="at least one version"):
        triton_reads(models)


@rule("T4")
def an_artifact_is_a_file_in_its_version(models: Path) -> None:
    paths = [exported(models), exported(models), exported(models, version=7)]
    assert [str(path.relative_to(models)) for path in paths] == [f"digits/{n}/model.onnx" for n in (1, 2, 7)]
    assert triton_reads(models) == {"digits": dict(zip((1, 2, 7), paths, strict=True))}
    assert {number: version.path for number, version in scan(models).models["digits"].versions.items()} == {
        1: paths[0],
        2: paths[1],
        7: paths[2],
    }


@rule("T5")
def an_artifact_of_several_files_is_a_folder(models: Path) -> None:
    folder = models / "digits" / "1" / "model.onnx"
    folder.mkdir(parents=True)
    onnx.save_model(
        tiny_model(), folder / "model.onnx", save_as_external_data=True, location="weights", size_threshold=0
    )
    assert triton_reads(models) == {"digits": {1: folder / "model.onnx"}}
    version = scan(models).models["digits"].versions[1]
    assert version.path == folder / "model.onnx"
    assert [name for name, *_ in version.fingerprint] == ["model.onnx", "weights"]
    artifact = read_artifact(version.path, allow_external_data=True)
    assert [layer.name for layer in artifact.catalog.inputs] == ["image"]


@rule("T6")
def an_artifact_is_what_onnxruntime_runs(models: Path) -> None:
    path = exported(models)
    model = onnx.load(path)
    assert {entry.domain for entry in model.opset_import} == {""}
    image = np.random.default_rng(2).random((3, SIDE, SIDE, 1), np.float32)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (scores,) = session.run(["predictions"], {"image": image})
    assert_close(scores, tiny_answer(image)["predictions"])


@rule("T7")
def a_configuration_may_be_missing(models: Path) -> None:
    exported(models)
    assert [path.name for path in (models / "digits").iterdir()] == ["1"]
    assert read_model_settings(models / "digits") == ModelSettings()
    (models / "digits" / "config.pbtxt").touch()
    assert triton_reads(models)
    assert read_model_settings(models / "digits").declared_in == "config.pbtxt"


@rule("T8")
def the_name_is_that_of_the_folder(models: Path) -> None:
    assert configured(models, 'name: "digits"').declared_in
    assert configured(models, "").declared_in
    assert refusal(models, 'name: "letters"') == "config.pbtxt: name: expected 'digits', received 'letters'"


@rule("T9")
def the_platform_may_be_missing(models: Path) -> None:
    for text in ('platform: "onnxruntime_onnx"', 'backend: "onnxruntime"', ""):
        assert configured(models, text).declared_in
    assert "platform: expected 'onnxruntime_onnx'" in refusal(models, 'platform: "tensorrt_plan"')
    assert "backend: expected 'onnxruntime', received 'python'" in refusal(models, 'backend: "python"')


@rule("T10")
def labels_lie_beside_the_configuration(models: Path) -> None:
    path = exported(models)
    (models / "digits" / "labels.txt").write_text("round\nsquare\r\nstar\n")
    settings = configured(models, 'output { name: "predictions" label_filename: "labels.txt" }')
    assert settings.classes == ("round", "square", "star")
    check_settings(settings, read_artifact(path).catalog, "cpu")
    (models / "digits" / "labels.txt").write_text("round\nsquare\n")
    settings = read_model_settings(models / "digits")
    with pytest.raises(ArtifactError, match="names 2 classes; expected a prediction of one layer of shape"):
        check_settings(settings, read_artifact(path).catalog, "cpu")
    assert "bare name" in refusal(models, 'output { name: "predictions" label_filename: "../labels.txt" }')


@rule("T11")
def a_policy_is_all_latest_or_specific(models: Path) -> None:
    numbers = [3, 1, 12, 7]
    for text, served in {
        "all {}": [1, 3, 7, 12],
        "latest { num_versions: 2 }": [7, 12],
        "latest { num_versions: 9 }": [1, 3, 7, 12],
        "specific { versions: [7, 1] }": [1, 7],
        "specific { versions: [1, 99] }": [1],
    }.items():
        settings = configured(models, f"version_policy {{ {text} }}")
        assert settings.versions.choose(numbers) == served, text
    assert settings.versions.find_missing(numbers) == [99]


@rule("T12")
def the_latest_is_served_where_a_configuration_says_nothing(models: Path) -> None:
    assert configured(models, "").versions.choose([1, 2, 10]) == [10]
    assert read_model_settings(models).versions == VersionPolicy()
    assert VersionPolicy().choose([1, 2, 10]) == [1, 2, 10]


@rule("T13")
def dims_leave_the_batch_out_where_there_is_one(models: Path) -> None:
    catalog = read_artifact(exported(models)).catalog
    inner, whole = f"{SIDE}, {SIDE}, 1", f"-1, {SIDE}, {SIDE}, 1"
    for most, dims in ((8, inner), (0, whole)):
        check_settings(configured(models, tensors(most, dims)), catalog, "cpu")
    for most, dims in ((8, whole), (0, inner)):
        with pytest.raises(ArtifactError, match="input 'image': dims: the network has"):
            check_settings(configured(models, tensors(most, dims)), catalog, "cpu")


def tensors(most: int, dims: str) -> str:
    return f'max_batch_size: {most} input {{ name: "image" data_type: TYPE_FP32 dims: [{dims}] }}'


@rule("T14")
def a_preferred_batch_is_at_most_the_largest(models: Path) -> None:
    assert configured(models, batches(8, "4, 6")).batch_rows == 6
    for most, sizes in ((8, "9"), (8, "0"), (8, "-1")):
        assert f"preferred_batch_size: expected a whole number from 1 to {most}" in refusal(
            models, batches(most, sizes)
        )
    assert "expected a max_batch_size beside it" in refusal(models, batches(0, "1"))


def batches(most: int, sizes: str) -> str:
    return f"max_batch_size: {most} dynamic_batching {{ preferred_batch_size: [{sizes}] }}"


@rule("T15")
def what_is_no_number_is_no_version(models: Path) -> None:
    exported(models)
    (models / "digits" / "configs").mkdir()
    (models / "digits" / "configs" / "other.pbtxt").touch()
    with fresh_folder(models / "digits" / "2") as draft:
        shutil.copy(models / "digits" / "1" / "model.onnx", draft)
        assert found(scan(models)) == {"digits": [1]}
        assert triton_reads(models)["digits"].keys() == {1}
    assert found(scan(models)) == {"digits": [1, 2]}
    assert scan(models).skipped == ()


@rule("T16")
def triton_passes_over_strata_toml(models: Path) -> None:
    path = exported(models)
    (models / "digits" / "strata.toml").write_text("labels = { stable = 1 }")
    assert triton_reads(models) == {"digits": {1: path}}
    assert read_model_settings(models / "digits").labels == {"stable": 1}


def test_a_repository_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"expected a folder with NAME/VERSION/model\.onnx inside, received"):
        scan(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match="Not a directory"):
        scan(tmp_path / "file")
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(StartError, match="--models"):
        scan(tmp_path / "circle")


def test_a_link_may_lead_to_another_place_in_the_repository(tmp_path: Path) -> None:
    models = tmp_path / "models"
    write_artifact(models, "digits", 1)
    (models / "digits" / "2").symlink_to("1")
    (models / "digits" / "3").mkdir()
    (models / "digits" / "3" / "model.onnx").symlink_to("../1/model.onnx")
    (models / "current").symlink_to("digits")
    (tmp_path / "linked").symlink_to("models")
    for folder in (models, tmp_path / "linked"):
        listing = scan(folder)
        assert found(listing) == {"current": [1, 2, 3], "digits": [1, 2, 3]}
        assert listing.models["current"].versions[1].model == "current"


def test_a_link_out_of_the_repository_is_refused(tmp_path: Path) -> None:
    models, outside = tmp_path / "models", tmp_path / "outside"
    write_artifact(models, "digits", 1)
    write_artifact(outside, "secret", 1)
    (models / "secret").symlink_to(outside / "secret")
    (models / "digits" / "2").symlink_to(outside / "secret" / "1")
    for version, target in ((3, outside / "secret" / "1" / "model.onnx"), (4, tmp_path / "nothing"), (5, "model.onnx")):
        (models / "digits" / str(version)).mkdir()
        (models / "digits" / str(version) / "model.onnx").symlink_to(target)
    (models / "notes").symlink_to(outside / "secret" / "1" / "model.onnx")  # a file is no model, wherever it is
    listing = scan(models)
    assert found(listing) == {"digits": [1], "secret": []}
    assert listing.models["secret"].problem == "secret is a link out of the model repository"
    assert {number: version.problem for number, version in listing.models["digits"].versions.items()} == {
        1: "",
        2: "digits/2 is a link out of the model repository",
        3: "digits/3/model.onnx is a link out of the model repository",
        4: "digits/4/model.onnx is a link that leads nowhere",
        5: "digits/5/model.onnx cannot be followed",
    }


def test_a_version_without_an_artifact_says_so(tmp_path: Path) -> None:
    for version, inside in ((1, "notes.txt"), (2, "model.onnx/notes.txt"), (3, "model.onnx/model.onnx/notes.txt")):
        path = tmp_path / "digits" / str(version) / inside
        path.parent.mkdir(parents=True)
        path.touch()
    (tmp_path / "digits" / "4").mkdir()
    os.mkfifo(tmp_path / "digits" / "4" / "model.onnx")
    versions = scan(tmp_path).models["digits"].versions
    assert {number: version.problem for number, version in versions.items()} == {
        1: "expected digits/1/model.onnx, found nothing there",
        2: "expected digits/2/model.onnx/model.onnx, found nothing there",
        3: "expected model.onnx/model.onnx in it as a regular file, found a folder",
        4: "expected model.onnx in it as a regular file, found none",
    }


def test_a_folder_with_artifacts_under_another_name_is_told(tmp_path: Path) -> None:
    for name in ("my model", "-digits", "a" * 129, "digits"):
        write_artifact(tmp_path, name)
    listing = scan(tmp_path)
    assert found(listing) == {"digits": [1]}
    assert len(listing.skipped) == 3
    assert "'my model': expected a model's name of 1 to 128 letters" in "".join(listing.skipped)


@pytest.mark.parametrize("change", ["artifact", "touched", "replaced", "weights", "settings", "labels"])
def test_a_fingerprint_tells_whether_something_has_changed(tmp_path: Path, change: str) -> None:
    path = write_artifact(tmp_path, "digits")
    before = scan(tmp_path).models["digits"]
    assert scan(tmp_path).models["digits"] == before
    match change:
        case "artifact":
            path.write_bytes(path.read_bytes() + b" ")
        case "touched":
            os.utime(path, ns=(1, 1))
        case "replaced":  # of the same size, with the same time
            status = path.stat()
            shutil.copy(path, path.with_name("new"))
            os.utime(path.with_name("new"), ns=(status.st_atime_ns, status.st_mtime_ns))
            path.with_name("new").replace(path)
        case "weights":
            path.with_name("weights.bin").touch()
        case "settings":
            (tmp_path / "digits" / "strata.toml").touch()
        case "labels":
            (tmp_path / "digits" / "classes.txt").touch()
    after = scan(tmp_path).models["digits"]
    of_model = change in {"settings", "labels"}
    assert (after.fingerprint != before.fingerprint) is of_model
    assert (after.versions[1].fingerprint != before.versions[1].fingerprint) is not of_model


def test_what_vanishes_while_it_is_read_is_not_there(tmp_path: Path) -> None:
    write_artifact(tmp_path, "steady")
    done = threading.Event()

    def churn() -> None:
        while not done.is_set():
            write_artifact(tmp_path, "digits")
            (tmp_path / "digits" / "2").symlink_to("1")
            shutil.rmtree(tmp_path / "digits")

    writer = threading.Thread(target=churn)
    writer.start()
    try:
        for _ in range(300):
            assert found(scan(tmp_path))["steady"] == [1]
    finally:
        done.set()
        writer.join()


def test_a_repository_of_tritons_layout_is_served(tmp_path: Path) -> None:
    for version in (1, 2, 10):
        write_artifact(tmp_path, "digits", version)
    configured(
        tmp_path, f'name: "digits" {tensors(8, f"{SIDE}, {SIDE}, 1")} version_policy {{ latest {{ num_versions: 2 }} }}'
    )
    write_artifact(tmp_path, "letters", 1)
    (tmp_path / "letters" / "config.pbtxt").write_text("optimization { }")
    write_artifact(tmp_path, "shapes", 3)
    write_artifact(tmp_path, "shapes", 4)
    (tmp_path / "shapes" / "classes.txt").write_text("round\nsquare\nfivefold\n")
    (tmp_path / "shapes" / "strata.toml").write_text("labels = { stable = 3, gone = 9 }\nlabel_file = 'classes.txt'")
    with serving(tmp_path) as server:
        assert server.models == "digits:2, digits:10, shapes:3, shapes:4"
        assert "model letters: " in server.log
        assert "expected a field that is honored, received 'optimization'" in server.log
        stubs = connect(server.grpc)
        image = np.ones((1, SIDE, SIDE, 1), np.float32)
        request = inference_pb2.PredictRequest(tensors=wire_tensors(image), top_k=3)
        request.model.name = "digits"
        assert stubs.predict(request).model.version == "10"
        request.model.name, request.model.version = "shapes", "stable"
        answer = stubs.predict(request)
        assert answer.model.version == "3"
        assert {label.name for label in answer.predictions[0].labels} == {"round", "square", "fivefold"}
        request.model.version = "gone"
        with pytest.raises(
            grpc.RpcError, match="unknown version 9, which is the label 'gone', of model 'shapes'; served: 3, 4"
        ):
            stubs.predict(request)
        stubs.channel.close()
