import io
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import grpc
import numpy as np
import pytest
from artifacts import CLASSES, tiny_answer
from click.testing import CliRunner, Result
from strata.v1.inference_pb2 import PredictResponse
from strata_client.cli import main

Peer = Callable[..., AbstractContextManager[str]]
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
    assert done.exit_code == 3
    assert str(picture) in done.stdout
    first, second = done.stderr.splitlines()
    assert first.startswith(f"strata: {bad}: model tiny: picture 0: expected a PNG or JPEG file")
    assert second == f"strata: {tmp_path}/none.png: No such file or directory"


def test_for_machines_a_bad_file_has_its_error_beside_the_answers(strata: Run, picture: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_text("no picture")
    done = strata("predict", bad, tmp_path / "none.png", picture, "--json")
    refused, unreadable, answered = json.loads(done.stdout)["predictions"]
    assert (done.exit_code, done.stderr) == (3, "")
    assert (refused["error"]["code"], unreadable["error"]["code"]) == ("INVALID_ARGUMENT", "UNREADABLE")
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
    assert done.exit_code == 3
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


def test_where_no_file_is_answered_the_command_has_failed(strata: Run, tmp_path: Path) -> None:
    assert strata("predict", tmp_path / "none.png", tmp_path / "no.png").exit_code == 1
    assert strata("predict", tmp_path / "none.png", "--json").exit_code == 1


def test_many_files_that_fail_alike_are_counted(strata: Run, tmp_path: Path) -> None:
    for number in range(12):
        np.save(tmp_path / f"{number}.npy", np.zeros((1, 5), np.float32))
    done = strata("predict", *[tmp_path / f"{number}.npy" for number in range(12)])
    assert f"{tmp_path}/9.npy and 2 more: model tiny: 'image': expected" in done.stderr


def test_of_a_folder_all_pictures_are_answered(strata: Run, picture: Path) -> None:
    (picture.parent / "other.PNG").write_bytes(picture.read_bytes())
    (picture.parent / "notes.txt").write_text("no picture")
    answers = json.loads(strata("predict", picture.parent, "--json").output)["predictions"]
    assert [answer["file"] for answer in answers] == [str(picture.parent / "other.PNG"), str(picture)]


def test_a_wrong_model_is_said_once_and_not_of_each_file(strata: Run, picture: Path) -> None:
    done = strata("predict", picture, picture, "--model", "tiny:")
    assert (done.exit_code, done.stderr) == (1, "strata: model: expected NAME or NAME:VERSION; received 'tiny:'\n")


def test_answers_that_were_there_when_the_server_went_are_shown(peer: Peer, picture: Path) -> None:
    answered: list[bool] = []

    def answer(_: object, context: grpc.ServicerContext) -> PredictResponse:
        if answered:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you?")
        answered.append(True)
        return PredictResponse(model={"name": "m", "version": "1"}, predictions=[{"labels": [{"name": "seven"}]}])

    with peer({"Predict": answer}) as address:
        done = CliRunner().invoke(main, ["predict", *[str(picture)] * 3, "--server", address])
    assert done.exit_code == 3
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["label", "seven"]
    assert done.stderr == f"strata: {picture}, {picture}: who are you?\n"
