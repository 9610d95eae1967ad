"""What a user types and reads."""

import subprocess
import sys
from pathlib import Path

import keras
import pytest
from strata_training import data
from training.workplace import Invoke

FIT = ("fit", "--data", "digits", "--network", "cnn", "--run", "digits")


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("command", [(), ("fit",), ("finetune",), ("export",), ("verify",)])
def test_help_is_there_for_every_command(strata_train: Invoke, command: tuple[str, ...]) -> None:
    result = strata_train(*command, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: ")


def test_help_names_every_data_set_and_network(strata_train: Invoke) -> None:
    text = strata_train("fit", "--help").stdout
    for name in (*data.NAMES, "cnn", "cnn8x8", "mlp", "polynomial", "resnet50"):
        assert name in text


def test_help_needs_no_tensorflow() -> None:
    program = (
        "import sys, strata_training.cli as cli\n"
        "try: cli.main(['fit', '--help'])\n"
        "except SystemExit: pass\n"
        "print({'tensorflow', 'keras', 'sklearn', 'onnxruntime'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_a_fit_tells_each_epoch_what_it_reached_and_what_comes_next(empty_folder: Path, strata_train: Invoke) -> None:
    result = strata_train(*FIT, "--epochs", "1", "--shift-pixels", "0", "--seed", "5")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0].startswith("epoch 1/1  ")
    assert any(line.startswith("test accuracy  0.") for line in lines)
    assert lines[-1] == "Next: strata-train export --from digits --model digits --models models"
    assert not any(line.endswith(" ") for line in lines)
    assert (empty_folder / "runs" / "digits" / "model.keras").is_file()


@pytest.mark.usefixtures("workplace")
def test_an_export_prints_each_layer_and_where_the_file_is(strata_train: Invoke, tmp_path: Path) -> None:
    result = strata_train("export", "--from", "digits", "--model", "digits", "--models", tmp_path / "models")
    assert (result.exit_code, result.stderr) == (0, "")
    assert (tmp_path / "models" / "digits" / "1" / "model.onnx").is_file()
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["conv1", "Conv2D", "28x28x25", "250", "176,400"] in [row[:5] for row in rows]
    assert ["conv2", "Conv2D", "14x14x50", "11,300", "2,205,000"] in [row[:5] for row in rows]
    assert str(tmp_path / "models" / "digits" / "1" / "model.onnx") in result.stdout


@pytest.mark.usefixtures("workplace")
def test_a_second_export_is_version_2_and_an_existing_one_is_refused(
    strata_train: Invoke, tmp_path: Path, small_model: keras.Model
) -> None:
    small_model.save(tmp_path / "small.keras")
    arguments = ("export", "--from", tmp_path / "small.keras", "--model", "small", "--models", tmp_path / "m")
    assert [strata_train(*arguments).exit_code for _ in range(2)] == [0, 0]
    result = strata_train(*arguments, "--version", "1")
    assert result.exit_code == 1
    assert "version 1 of 'small' exists" in result.stderr
    assert everything(tmp_path / "m" / "small") == ["1", "1/model.onnx", "2", "2/model.onnx"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fit", "--data", "digit", "--network", "cnn", "--run", "r"), "unknown data set 'digit'; nearest: 'digits'"),
        (("fit", "--data", "digits", "--network", "cn", "--run", "r"), "unknown network 'cn'; nearest: 'cnn'"),
        (("fit", "--data", "digits", "--network", "cnn", "--run", "../r"), "bad name of a run"),
        (("export", "--from", "missing", "--model", "m", "--models", "m"), "unknown run 'missing'; there are none"),
        (("export", "--from", "no.keras", "--model", "m", "--models", "m"), "no Keras model at no.keras"),
        (("export", "--from", "text.keras", "--model", "m", "--models", "m"), "text.keras is not a Keras model"),
        (("export", "--from", "text", "--model", "m", "--models", "m"), "expected a run's name or a .keras file"),
        (("export", "--from", "text.keras", "--model", "a/b", "--models", "m"), "bad name of a model"),
        (("export", "--from", "text.keras", "--model", "m", "--models", "text"), "text: expected a folder"),
        (("verify", "text", "--against", "missing"), "unknown run 'missing'"),
        (("verify", "none.onnx", "--against", "lambda.keras"), "code execution"),
    ],
)
def test_what_a_user_gets_wrong_is_one_line_and_leaves_nothing(
    empty_folder: Path, strata_train: Invoke, arguments: tuple[str, ...], message: str
) -> None:
    for name in ("text", "text.keras"):
        Path(name).write_text("neither a run nor a model")
    entry = keras.Input((4,))
    keras.Model(entry, keras.layers.Lambda(lambda x: x * 2)(entry)).save("lambda.keras")
    before = everything(empty_folder)
    result = strata_train(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("strata-train: ")
    assert message in line
    assert everything(empty_folder) == before


@pytest.mark.parametrize(
    "arguments",
    [
        (*FIT, "--epochs", "0"),
        (*FIT, "--epochs", "many"),
        (*FIT, "--seed", "-1"),
        (*FIT, "--learning-rate", "0"),
        ("fit", "--data", "digits"),
        ("export", "--from", "digits", "--model", "digits", "--models", "models", "--version", "0"),
        ("verify",),
        ("unheard-of",),
    ],
)
def test_a_command_that_cannot_be_meant_is_a_usage_error(
    empty_folder: Path, strata_train: Invoke, arguments: tuple[str, ...]
) -> None:
    assert strata_train(*arguments).exit_code == 2
    assert everything(empty_folder) == []


@pytest.mark.usefixtures("workplace")
def test_a_file_that_is_not_an_artifact_is_told(strata_train: Invoke, tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no model")
    result = strata_train("verify", tmp_path / "text.onnx", "--against", "digits")
    assert result.exit_code == 1
    assert "text.onnx is not an ONNX file" in result.stderr
