"""How artifacts come into a model repository."""

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from strata_training import artifacts, folders
from strata_training.artifacts import choose_version, read_artifact, write_artifact
from strata_training.errors import BadName, Exists, NotFound, Unreadable


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "models"


@pytest.fixture
def tiny() -> onnx.ModelProto:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 2]) for name in ("in", "out")]
    graph = helper.make_graph([helper.make_node("Relu", ["in"], ["out"])], "tiny", values[:1], values[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_the_first_version_is_1_and_the_next_the_highest_plus_1(models: Path) -> None:
    assert choose_version(models, "digits") == models / "digits" / "1"
    for name in ("2", "10", "notes", ".7.draft", "³"):
        (models / "digits" / name).mkdir(parents=True)
    assert choose_version(models, "digits") == models / "digits" / "11"


def test_a_version_that_is_asked_for_is_taken_if_it_is_free(models: Path) -> None:
    (models / "digits" / "2").mkdir(parents=True)
    assert choose_version(models, "digits", 7).name == "7"
    with pytest.raises(Exists, match=r"version 2 of 'digits' exists in .*the next is --version 3"):
        choose_version(models, "digits", 2)


def test_a_bad_model_name_is_refused(models: Path) -> None:
    with pytest.raises(BadName, match=r"bad name of a model: .* received '\.\./digits'"):
        choose_version(models, "../digits")


def test_a_model_repository_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "models").touch()
    with pytest.raises(Unreadable, match="models: expected a folder, received a file"):
        choose_version(tmp_path / "models", "digits")


def test_an_artifact_is_written_with_its_folders_and_nothing_else(models: Path, tiny: onnx.ModelProto) -> None:
    path = write_artifact(choose_version(models, "tiny"), tiny)
    assert everything(models) == {"tiny", "tiny/1", "tiny/1/model.onnx"}
    assert read_artifact(path) == tiny


def test_an_artifact_can_be_read_by_another_user(models: Path, tiny: onnx.ModelProto) -> None:
    path = write_artifact(choose_version(models, "tiny"), tiny)
    # The server runs as a user of its own; only the umask may take rights away.
    usual = models.stat().st_mode
    assert path.parent.stat().st_mode == usual
    (models / "usual").touch()
    assert path.stat().st_mode == (models / "usual").stat().st_mode


def test_an_artifact_appears_whole(models: Path, tiny: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> None:
    rename, seen = folders._rename, []

    def watch(draft: Path, target: Path) -> None:
        seen.append((target.exists(), (draft / "model.onnx").read_bytes()))
        rename(draft, target)

    monkeypatch.setattr(folders, "_rename", watch)
    path = write_artifact(models / "tiny" / "1", tiny)
    assert seen == [(False, path.read_bytes())]


def test_a_version_that_came_into_being_meanwhile_is_kept(models: Path, tiny: onnx.ModelProto) -> None:
    folder = choose_version(models, "tiny")
    write_artifact(folder, tiny)
    first = (folder / "model.onnx").read_bytes()
    tiny.producer_name = "another"
    with pytest.raises(Exists, match=r"version 1 of 'tiny' exists .*--version 2"):
        write_artifact(folder, tiny)
    assert (folder / "model.onnx").read_bytes() == first
    assert everything(models) == {"tiny", "tiny/1", "tiny/1/model.onnx"}


def test_a_full_disk_leaves_nothing(
    models: Path, tiny: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folders, "_flush", fail)
    with pytest.raises(OSError, match="No space left"):
        write_artifact(models / "tiny" / "1", tiny)
    assert everything(tmp_path) == set()


def test_a_failure_leaves_the_other_versions(
    models: Path, tiny: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_artifact(models / "tiny" / "1", tiny)
    monkeypatch.setattr(artifacts, "FILE", "no/such/folder")
    with pytest.raises(FileNotFoundError):
        write_artifact(models / "tiny" / "2", tiny)
    assert everything(models) == {"tiny", "tiny/1", "tiny/1/model.onnx"}


def test_an_artifact_that_is_not_there_is_told(models: Path) -> None:
    with pytest.raises(NotFound, match=r"no artifact at .*model\.onnx"):
        read_artifact(models / "digits" / "1" / "model.onnx")


@pytest.mark.parametrize("content", [b"", b"no protobuf", b"\x08\x08"])
def test_a_file_that_is_not_onnx_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(Unreadable, match=r"model\.onnx is not an ONNX file: "):
        read_artifact(tmp_path / "model.onnx")
