import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from artifacts import CLASSES, tiny_answer
from click.testing import Result

Run = Callable[..., Result]


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


def test_what_is_wrong_with_several_files_is_said_once(strata: Run, tmp_path: Path, picture: Path) -> None:
    files = [tmp_path / name for name in ("a.npy", "b.npy")]
    for file in files:
        np.save(file, np.zeros((1, 5), np.float32))
    done = strata("predict", *files, picture)
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"strata: {files[0]}, {files[1]}: model tiny: 'image': expected")
    assert str(picture) in done.stdout


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
