import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from artifacts import SIDE, assert_close, tiny_answer
from click.testing import Result
from PIL import Image

Run = Callable[..., Result]


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


def test_arrays_by_name_enter_as_well(strata: Run, arrays: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "arrays.npz", image=np.load(arrays))
    by_name, unnamed = (
        strata("activations", file, "--layers", "scores", "--json") for file in (tmp_path / "arrays.npz", arrays)
    )
    (layer,) = json.loads(by_name.output)["layers"]
    assert [layer] == json.loads(unnamed.output)["layers"]
    assert layer["shape"] == [3, 3]


def test_a_plot_shows_the_first_row_of_a_file_of_arrays(strata: Run, arrays: Path, tmp_path: Path) -> None:
    done = strata("activations", arrays, "--layers", "double", "--plot", tmp_path / "out.png")
    assert (done.output, done.exit_code) == (f"{tmp_path}/out.png\n", 0)


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
