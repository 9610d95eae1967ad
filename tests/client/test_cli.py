import io
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from artifacts import CLASSES, SIDE, assert_close, tiny_answer
from click.testing import CliRunner, Result
from PIL import Image
from processes import ServerProcess
from strata.v1.catalog_pb2 import ListModelsResponse
from strata_client.cli import main

Peer = Callable[..., AbstractContextManager[str]]
Run = Callable[..., Result]


@pytest.fixture
def strata(tiny: ServerProcess) -> Run:
    """Run the command against the server of the tiny artifact."""

    def run(*arguments: object, **options: Any) -> Result:
        options = {"env": {"STRATA_SERVER": tiny.grpc}, **options}
        return CliRunner().invoke(main, [str(argument) for argument in arguments], **options)

    return run


def test_models_are_a_table(strata: Run) -> None:
    done = strata("models")
    assert done.output == (
        "model  version  layers  parameters  multiply-adds  classes\n"
        "tiny         1       5          48             48        3\n"
        "tiny        12       5          48             48        3\n"
    )


def test_models_can_be_picked(strata: Run) -> None:
    found = json.loads(strata("models", "--model", "tiny:12", "--json").output)["models"]
    assert [(model["name"], model["version"]) for model in found] == [("tiny", "12")]


@pytest.mark.parametrize("arguments", [["tiny:1"], ["--model", "tiny:1"], ["tiny:1", "--model", "tiny:1"]])
def test_layers_are_a_table_with_a_total(strata: Run, arguments: list[str]) -> None:
    lines = strata("layers", *arguments).output.splitlines()
    assert lines[0] == "tiny version 1: 5 layers of float32, 3 classes, trained on shapes, 50.0% right when tested"
    assert lines[2] == "image        InputLayer  4x4x1           0              0  input"
    assert lines[-1].split() == ["total", "48", "48"]


def test_layers_for_machines_are_all_that_is_known(strata: Run) -> None:
    document = json.loads(strata("layers", "--json").output)
    assert (document["name"], document["version"], document["inputs"]) == ("tiny", "12", ["image"])
    assert document["layers"][3]["dtype"] == "float32"
    assert document["preprocessing"]["color"] == "grayscale"


def test_two_models_at_once_are_a_usage_error(strata: Run) -> None:
    done = strata("layers", "tiny:1", "--model", "tiny:12")
    assert (done.exit_code, done.stdout) == (2, "")


def test_predict_says_what_each_file_shows(strata: Run, picture: Path) -> None:
    lines = strata("predict", picture, picture, "--top", "2").output.splitlines()
    assert lines[0].split() == ["file", "label", "score", "runners-up"]
    assert lines[1] == lines[2]
    file, label, score, bar, *runner_up = lines[1].split()
    assert (file, label) == (str(picture), "square")
    assert bar == "#" * round(float(score) * 20)
    assert len(runner_up) == 2


def test_predict_reads_standard_input(strata: Run, picture: Path) -> None:
    done = strata("predict", "-", "--json", input=picture.read_bytes())
    (answer,) = json.loads(done.output)["predictions"]
    assert (answer["file"], answer["model"], answer["version"]) == ("-", "tiny", "12")
    assert [set(label) for label in answer["labels"]] == [{"name", "index", "score"}] * 3


def test_a_bad_file_is_named_and_the_others_are_answered(strata: Run, picture: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_text("no picture")
    done = strata("predict", bad, tmp_path / "none.png", picture)
    assert done.exit_code == 1
    assert str(picture) in done.stdout
    first, second = done.stderr.splitlines()
    assert first.startswith(f"strata: {bad}: model tiny: picture 0: expected a PNG or JPEG file")
    assert second == f"strata: {tmp_path}/none.png: No such file or directory"


def test_for_machines_a_bad_file_has_its_error_beside_the_answers(strata: Run, picture: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_text("no picture")
    done = strata("predict", bad, tmp_path / "none.png", picture, "--json")
    refused, unreadable, answered = json.loads(done.stdout)["predictions"]
    assert (done.exit_code, refused["error_code"], unreadable["error_code"]) == (1, "INVALID_ARGUMENT", "UNREADABLE")
    assert answered["labels"]


def test_activations_are_a_table_of_figures(strata: Run, picture: Path) -> None:
    lines = strata("activations", picture, "--layers", "image, scores").output.splitlines()
    assert lines[0] == "tiny version 12"
    assert lines[2].split()[:3] == ["image", "4x4x1", "0"]
    assert lines[3].split()[:2] == ["scores", "3"]


def test_activations_for_machines_are_figures_and_no_data(strata: Run, picture: Path, tmp_path: Path) -> None:
    done = strata("activations", picture, "--layers", "image", "--json", "--save", tmp_path / "out.npz")
    document = json.loads(done.output)
    (layer,) = document["layers"]
    assert (layer["shape"], layer["dtype"], layer["channels"]) == ([1, SIDE, SIDE, 1], "float32", 1)
    assert (document["save"], document["plot"]) == (str(tmp_path / "out.npz"), None)


def test_saved_activations_are_what_was_computed(strata: Run, picture: Path, tmp_path: Path) -> None:
    done = strata("activations", picture, "--layers", "image,double", "--save", tmp_path / "out.npz")
    assert done.output == f"{tmp_path}/out.npz\n"
    with np.load(tmp_path / "out.npz", allow_pickle=False) as saved:
        assert saved.files == ["image", "double"]
        assert_close(saved["double"], saved["image"] * 2)


def test_a_plot_is_a_picture_of_the_layers_asked(strata: Run, picture: Path, tmp_path: Path) -> None:
    done = strata("activations", picture, "--layers", "double,scores", "--plot", tmp_path / "out.png")
    assert (done.output, done.exit_code) == (f"{tmp_path}/out.png\n", 0)
    with Image.open(tmp_path / "out.png") as image:
        assert (image.format, image.width) == ("PNG", 1560)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["layers", "nope"], "strata: unknown model 'nope'; there are 1: 'tiny'"),
        (["layers", "tiny:"], "strata: model: expected NAME or NAME:VERSION; received 'tiny:'"),
        (["layers", "\udcff\x1b[31m"], r"strata: model: expected Unicode text; received '\udcff\x1b[31m'"),
        (
            ["activations", "PICTURE", "--layers", "doubel"],
            "strata: model tiny: unknown layer 'doubel'; nearest: 'double'",
        ),
        (["activations", "/none.png", "--layers", "image"], "strata: /none.png: No such file or directory"),
        (["activations", "/", "--layers", "image"], "strata: /: Is a directory"),
        (
            ["activations", "PICTURE", "--layers", "image", "--save", "/none/x.npz"],
            "strata: /none/x.npz: No such file or directory",
        ),
        (
            ["activations", "PICTURE", "--layers", "image", "--plot", "/none/x.png"],
            "strata: /none/x.png: No such file or directory",
        ),
        (["predict", "/none\n.png"], r"strata: /none\n.png: No such file or directory"),
        (["predict", "/dev/zero"], "strata: /dev/zero is larger than a message may be: 67,108,864 bytes"),
        (["models", "--server", "localhost:1"], "strata: no server answers at localhost:1: Connection refused"),
        (
            ["predict", "PICTURE", "PICTURE", "--server", "localhost:1"],
            "strata: no server answers at localhost:1: Connection refused",
        ),
        (["health", "--model", "nope"], "strata: unknown model 'nope'; there are 1: 'tiny'"),
        (["models", "--model", "nope"], "strata: unknown model 'nope'; there are 1: 'tiny'"),
        (["diff", "tiny:1", "nope", "PICTURE"], "strata: unknown model 'nope'; there are 1: 'tiny'"),
        (["diff", "tiny:1", "tiny", "PICTURE", "--layers", "x"], "strata: tiny:1 has no layer 'x'"),
        (
            ["diff", "tiny:1", "tiny", "PICTURE", "--tolerance", "nan"],
            "strata: tolerance: expected a number from 0; received nan",
        ),
        (["diff", "tiny:1", "tiny", "/none.png"], "strata: /none.png: No such file or directory"),
        (["predict", "/none.npy"], "strata: /none.npy: No such file or directory"),
    ],
)
def test_what_a_user_can_cause_is_one_line_and_exit_code_1(
    strata: Run, picture: Path, arguments: list[str], line: str
) -> None:
    done = strata(*[str(picture) if argument == "PICTURE" else argument for argument in arguments])
    assert (done.exit_code, done.stdout, done.stderr) == (1, "", f"{line}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["modles"],
        ["predict"],
        ["predict", "x.png", "--top", "0"],
        ["activations", "x.png"],
        ["activations", "x.png", "--layers", " , "],
        ["activations", "x.png", "--layers", "a", "--plot", "x.jpg"],
        ["activations", "x.png", "y.png", "--layers", "a"],
        ["models", "--timeout", "0"],
        ["activations", "x.png", "--layers", "a", "--reduce", "median"],
        ["activations", "x.png", "--layers", "a", "--reduce", "mean", "--reduce", "max"],
        ["activations", "x.png", "--layers", "a", "--reduce", "top:3", "--plot", "x.png"],
        ["activations", "x.png", "--layers", "a", "--reduce", "a=statistics", "--plot", "x.png"],
        ["diff", "a", "b"],
        ["diff", "a", "b", "x.png", "--tolerance", "-1"],
        ["diff", "a", "b", "x.png", "--layers", ","],
    ],
)
def test_a_command_that_cannot_be_meant_is_a_usage_error(strata: Run, arguments: list[str]) -> None:
    done = strata(*arguments, env={"STRATA_SERVER": "localhost:1"})
    assert (done.exit_code, done.stdout) == (2, "")
    assert "Usage: " in done.stderr


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    """An .npy file of three rows of the tiny artifact's input."""
    np.save(tmp_path / "arrays.npy", np.random.default_rng(1).random((3, SIDE, SIDE, 1), np.float32))
    return tmp_path / "arrays.npy"


def test_a_model_that_is_not_there_is_no_empty_table(strata: Run) -> None:
    done = strata("models", "--model", "tiny:2")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "2" in done.stderr


def test_predict_answers_each_row_of_a_file_of_arrays(strata: Run, arrays: Path, picture: Path) -> None:
    rows = tiny_answer(np.load(arrays))["predictions"]
    expected = [CLASSES[row.argmax()] for row in rows]
    answers = json.loads(strata("predict", arrays, "--json").output)["predictions"]
    assert [(answer["row"], answer["labels"][0]["name"]) for answer in answers] == list(enumerate(expected))
    lines = strata("predict", arrays, picture).output.splitlines()
    assert lines[0].split()[:3] == ["file", "row", "label"]
    assert [line.split()[:3] for line in lines[1:4]] == [
        [str(arrays), str(i), label] for i, label in enumerate(expected)
    ]
    assert lines[4].split()[:2] == [str(picture), "0"]


def test_arrays_by_name_enter_as_well(strata: Run, arrays: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "arrays.npz", image=np.load(arrays))
    by_name, unnamed = (
        strata("activations", file, "--layers", "scores", "--json") for file in (tmp_path / "arrays.npz", arrays)
    )
    (layer,) = json.loads(by_name.output)["layers"]
    assert [layer] == json.loads(unnamed.output)["layers"]
    assert layer["shape"] == [3, 3]


@pytest.mark.parametrize("save", [np.save, lambda file, rows: np.savez(file, image=rows)])
def test_arrays_are_read_from_standard_input(strata: Run, arrays: Path, save: Callable[..., None]) -> None:
    file = io.BytesIO()
    save(file, np.load(arrays))
    done = strata("predict", "-", "--json", input=file.getvalue())
    assert [(answer["file"], answer["row"]) for answer in json.loads(done.output)["predictions"]] == [
        ("-", 0),
        ("-", 1),
        ("-", 2),
    ]


def test_a_plot_shows_the_first_row_of_a_file_of_arrays(strata: Run, arrays: Path, tmp_path: Path) -> None:
    done = strata("activations", arrays, "--layers", "double", "--plot", tmp_path / "out.png")
    assert (done.output, done.exit_code) == (f"{tmp_path}/out.png\n", 0)


def test_what_is_wrong_with_several_files_is_said_once(strata: Run, tmp_path: Path, picture: Path) -> None:
    files = [tmp_path / name for name in ("a.npy", "b.npy")]
    for file in files:
        np.save(file, np.zeros((1, 5), np.float32))
    done = strata("predict", *files, picture)
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"strata: {files[0]}, {files[1]}: model tiny: 'image': expected")
    assert str(picture) in done.stdout


@pytest.mark.parametrize("command", [["predict"], ["activations", "--layers", "image"], ["diff", "tiny:1", "tiny:12"]])
@pytest.mark.parametrize("name", ["bad.npy", "bad.npz"])
def test_a_bad_file_of_arrays_is_one_line(strata: Run, tmp_path: Path, command: list[str], name: str) -> None:
    (tmp_path / name).write_bytes(b"\x93NUMPY no array\n\x1b[2J")
    done = strata(*command, tmp_path / name)
    assert (done.exit_code, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"strata: {tmp_path / name}: expected an .np")
    assert "\x1b" not in line


def test_versions_that_agree_have_exit_code_0(strata: Run, picture: Path, arrays: Path) -> None:
    for source in (picture, arrays, picture.parent):
        done = strata("diff", "tiny:1", "tiny:12", source)
        assert done.exit_code == 0
        assert done.output.splitlines()[0].startswith("tiny:1 and tiny:12: ")
        assert (
            done.output.splitlines()[-1] == "all within the tolerance, 0.001 of a layer's largest magnitude: 5 layers"
        )


def test_differences_for_machines_are_those_of_the_layers_asked(strata: Run, picture: Path) -> None:
    done = strata(
        "diff", "tiny:1", "tiny", picture, picture, "--layers", "scores,double", "--tolerance", "0.5", "--json"
    )
    document = json.loads(done.output)
    assert (document["a"], document["b"], document["rows"], document["tolerance"]) == ("tiny:1", "tiny:12", 2, 0.5)
    assert (document["agree"], document["first_past"]) == (True, None)
    assert [(layer["name"], layer["largest"], layer["relative"]) for layer in document["layers"]] == [
        ("double", 0, 0),
        ("scores", 0, 0),
    ]


def test_a_stored_activation_enters_in_the_middle(strata: Run, picture: Path, tmp_path: Path) -> None:
    stored = tmp_path / "flat.npz"
    assert strata("activations", picture, "--layers", "flat", "--save", stored).exit_code == 0
    for command in (["predict"], ["activations", "--layers", "scores,predictions"], ["diff", "tiny:1", "tiny:12"]):
        whole, entered = (strata(*command, file, "--json") for file in (picture, stored))
        assert (whole.exit_code, entered.exit_code) == (0, 0)
    assert (
        json.loads(strata("predict", stored, "--json").output)["predictions"][0]["labels"]
        == (json.loads(strata("predict", picture, "--json").output)["predictions"][0]["labels"])
    )


def test_what_leads_to_a_stored_activation_is_not_drawn(strata: Run, picture: Path, tmp_path: Path) -> None:
    stored, plot = tmp_path / "flat.npz", tmp_path / "out.png"
    strata("activations", picture, "--layers", "flat", "--save", stored)
    assert strata("activations", stored, "--layers", "scores", "--plot", plot).output == f"{plot}\n"


def test_one_reduction_is_for_all_layers_and_another_for_one(strata: Run, picture: Path) -> None:
    arguments = ["activations", picture, "--layers", "image,double,scores", "--reduce", "half"]
    arguments += ["--reduce", "double=mean", "--reduce", "double=half", "--reduce", "scores=top:2"]
    layers = json.loads(strata(*arguments, "--json").output)["layers"]
    assert [(layer["reduction"], layer["shape"], layer["dtype"]) for layer in layers] == [
        ("half", [1, SIDE, SIDE, 1], "float16"),
        ("mean+half", [1, 1], "float16"),
        ("top:2", [1, 2], "float32"),
    ]
    assert [(layer["channels"], layer["dead_channels"]) for layer in layers] == [(1, 0), (1, 0), (None, None)]
    top = layers[2]["top_channels"]
    assert [one["share"] for one in top] == [1, 1]
    assert top[0]["mean"] > top[1]["mean"]
    assert strata(*arguments).output.splitlines()[-1].split()[-4] == str(top[0]["channel"])


def test_statistics_for_machines_are_five_lists_for_each_row(strata: Run, arrays: Path) -> None:
    done = strata("activations", arrays, "--layers", "double", "--reduce", "statistics", "--json")
    (layer,) = json.loads(done.output)["layers"]
    rows = 2 * np.load(arrays)
    assert [list(row) for row in layer["statistics"]] == [["mean", "deviation", "min", "max", "zero_share"]] * 3
    assert_close([row["deviation"] for row in layer["statistics"]], rows.std((1, 2)))


def test_labels_of_a_layer_are_those_of_the_prediction(strata: Run, picture: Path) -> None:
    arguments = ["activations", picture, "--layers", "double,predictions", "--reduce", "predictions=labels:2"]
    (labels,) = json.loads(strata(*arguments, "--json").output)["layers"][1]["labels"]
    assert labels == json.loads(strata("predict", picture, "--json").output)["predictions"][0]["labels"][:2]
    assert f"{labels[0]['name']} {labels[0]['score']:.3f}, {labels[1]['name']}" in strata(*arguments).output


def test_saved_top_channels_have_their_indices_beside_them(strata: Run, arrays: Path, tmp_path: Path) -> None:
    done = strata("activations", arrays, "--layers", "scores", "--reduce", "top:2", "--save", tmp_path / "out.npz")
    assert done.exit_code == 0
    scores = tiny_answer(np.load(arrays))["scores"]
    with np.load(tmp_path / "out.npz", allow_pickle=False) as saved:
        assert saved.files == ["scores", "scores.channels"]
        np.testing.assert_array_equal(saved["scores.channels"], np.argsort(-scores, axis=1)[:, :2])


def test_pooled_channels_are_drawn(strata: Run, picture: Path, tmp_path: Path) -> None:
    arguments = ["activations", picture, "--layers", "image,double", "--reduce", "mean"]
    done = strata(*arguments, "--plot", tmp_path / "out.png")
    assert (done.output, done.exit_code) == (f"{tmp_path}/out.png\n", 0)


def test_a_reduction_of_a_layer_that_is_not_asked_is_a_usage_error(strata: Run, picture: Path) -> None:
    done = strata("activations", picture, "--layers", "image,flat", "--reduce", "flat=half=mean")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "flat=half is none of --layers" in done.stderr


def test_a_failed_save_leaves_the_old_file(strata: Run, picture: Path, tmp_path: Path) -> None:
    (tmp_path / "out.npz").write_text("old")
    assert strata("activations", picture, "--layers", "nope", "--save", tmp_path / "out.npz").exit_code == 1
    assert (tmp_path / "out.npz").read_text() == "old"


def test_a_healthy_server_is_said_to_serve(strata: Run) -> None:
    assert strata("health").output == "serving\n"
    assert json.loads(strata("health", "--model", "tiny", "--json").output) == {"serving": True}


def test_a_hostile_server_moves_no_cursor(peer: Peer) -> None:
    def answer(*_: Any) -> ListModelsResponse:
        return ListModelsResponse(models=[{"name": "\x1b[2J[red]", "version": "1"}])

    def refuse(_: object, context: grpc.ServicerContext) -> None:
        context.abort(grpc.StatusCode.NOT_FOUND, "two\nlines \x1b[2J")

    with peer({"ListModels": answer, "DescribeModel": refuse}) as address:
        for arguments in (["models"], ["models", "--json"], ["layers"]):
            done = CliRunner().invoke(main, [*arguments, "--server", address])
            assert "\x1b" not in done.output
        assert done.stderr == "strata: two\\nlines \\x1b[2J\n"


def test_a_reader_that_leaves_early_is_no_error(tiny: ServerProcess) -> None:
    command = "strata models --server " + tiny.grpc
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} | true"],
        env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stderr == ""


def test_output_that_the_locale_cannot_print_is_escaped(peer: Peer) -> None:
    def answer(*_: Any) -> ListModelsResponse:
        return ListModelsResponse(models=[{"name": "größe", "version": "1"}])

    with peer({"ListModels": answer}) as address:
        done = subprocess.run(
            [Path(sys.executable).parent / "strata", "models", "--server", address],
            env={"PYTHONIOENCODING": "ascii"},
            capture_output=True,
            timeout=30,
            check=False,
        )
    assert io.BytesIO(done.stdout).readlines()[1].startswith(rb"gr\xf6\xdfe")
    assert done.returncode == 0


@pytest.mark.parametrize("command", ["", "models", "layers", "predict", "activations", "diff", "health"])
def test_every_command_explains_itself(command: str) -> None:
    done = CliRunner().invoke(main, [*command.split(), "--help"])
    assert (done.exit_code, done.output.startswith("Usage: main")) == (0, True)
    if command:
        options = {"--server", "--timeout", "--json"} | ({"--model"} if command != "diff" else set())
        assert options <= set(done.output.split())
