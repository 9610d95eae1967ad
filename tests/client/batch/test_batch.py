import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from artifacts import SIDE
from click.testing import CliRunner, Result
from processes import ServerProcess
from strata_client import Client
from strata_client.cli import main

from .conftest import COUNT, Batch, parts, read_bytes, read_result, read_summary, write_pictures


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """A folder of ten pictures, of which the fourth is none, and the eighth is a text."""
    folder = write_pictures(tmp_path / "damaged", 10)
    (folder / "0003.png").write_bytes(b"")
    (folder / "0007.png").write_text("no picture")
    return folder


def test_a_folder_becomes_a_table_with_a_row_for_each_picture(
    batch: Batch, tiny: ServerProcess, pictures: Path, tmp_path: Path
) -> None:
    done = batch(pictures, "--out", tmp_path / "out", "--layers", "scores,double", "--reduce", "double=mean")
    assert done.exit_code == 0, done.output
    found = read_result(tmp_path / "out")
    files = sorted(pictures.iterdir())
    with Client(tiny.grpc) as client:
        predictions = client.predict(files, model="tiny:1")
        activations = client.activations(files, ["scores", "double"], model="tiny:1", reduce={"double": "mean"})
    assert found["key"] == [file.name for file in files]
    assert found["label"] == [each.label for each in predictions]
    np.testing.assert_allclose(found["score"], [each.score for each in predictions], rtol=1e-6)
    assert found["error_code"] == found["error"] == [None] * COUNT
    np.testing.assert_array_equal(found["scores"], activations["scores"])
    np.testing.assert_array_equal(found["double"], activations["double"])
    assert list(found) == ["key", "label", "score", "error_code", "error", "scores", "double"]


def test_it_says_what_it_will_do_and_what_it_did(batch: Batch, pictures: Path, tmp_path: Path) -> None:
    done = batch(pictures, "--out", tmp_path / "out", "--layers", "scores", "--part-rows", 25)
    assert done.stderr == f"tiny:1 to {tmp_path / 'out'}: 60 rows of 76 bytes, 4.5 KiB in 3 parts\n"
    first, second = done.stdout.splitlines()
    assert first == f"{tmp_path / 'out'}: 60 rows in 3 parts"
    assert re.fullmatch(r"asked for 60 in 0:0\d, [\d,]+/s; 0 failed", second)


def test_without_layers_there_are_label_and_score_alone(batch: Batch, pictures: Path, tmp_path: Path) -> None:
    assert batch(pictures, "--out", tmp_path / "out").exit_code == 0
    assert list(read_result(tmp_path / "out")) == ["key", "label", "score", "error_code", "error"]


def test_the_prediction_itself_can_be_a_column(batch: Batch, pictures: Path, tmp_path: Path) -> None:
    assert batch(pictures, "--out", tmp_path / "a", "--layers", "predictions").exit_code == 0
    assert batch(pictures, "--out", tmp_path / "b", "--layers", "predictions", "--reduce", "labels:2").exit_code == 0
    whole, ranked = read_result(tmp_path / "a"), read_result(tmp_path / "b")
    assert whole["label"] == ranked["label"]
    assert whole["score"] == ranked["score"]
    np.testing.assert_array_equal(ranked["predictions.channels"][:, 0], whole["predictions"].argmax(axis=1))


def test_a_picture_that_is_none_is_a_row_with_its_reason_and_not_the_end(
    batch: Batch, damaged: Path, tmp_path: Path
) -> None:
    done = batch(damaged, "--out", tmp_path / "out", "--layers", "scores")
    assert done.exit_code == 3
    assert done.stdout.splitlines()[-1] == (
        "2 INVALID_ARGUMENT, such as 0003.png: model tiny: expected a PNG or JPEG file, received 0 bytes that are neither"
    )
    found = read_result(tmp_path / "out")
    assert [code is None for code in found["error_code"]] == [number not in {3, 7} for number in range(10)]
    assert found["error"][7] == "model tiny: expected a PNG or JPEG file, received 10 bytes that are neither"
    assert (found["label"][3], found["score"][3]) == (None, None)
    assert np.isnan(found["scores"][[3, 7]]).all()
    assert np.isfinite(np.delete(found["scores"], [3, 7], axis=0)).all()


def test_rows_that_failed_are_asked_again_and_no_others(batch: Batch, damaged: Path, tmp_path: Path) -> None:
    flags = [damaged, "--out", tmp_path / "out", "--layers", "scores", "--json", "--part-rows", 5]
    first = read_summary(batch(*flags))
    assert (first["asked"], first["failed"], first["codes"]) == (10, 2, {"INVALID_ARGUMENT": 2})
    before = read_bytes(tmp_path / "out")
    again = read_summary(batch(*flags))
    assert (again["asked"], again["failed"]) == (2, 2)
    assert read_bytes(tmp_path / "out") == before


def test_a_repaired_picture_gets_its_answer_once_the_change_is_accepted(
    batch: Batch, damaged: Path, tmp_path: Path
) -> None:
    flags = [damaged, "--out", tmp_path / "out", "--layers", "scores", "--part-rows", 5]
    batch(*flags)
    whole = write_pictures(tmp_path / "whole", 10)
    (damaged / "0003.png").write_bytes((whole / "0003.png").read_bytes())
    refused = batch(*flags)
    assert refused.exit_code == 1
    assert refused.stderr.splitlines()[-1].endswith(
        "--accept-source goes on all the same, and keeps the answers that are there"
    )
    assert batch(*flags, "--accept-source").exit_code == 3
    (damaged / "0007.png").write_bytes((whole / "0007.png").read_bytes())
    assert batch(*flags, "--accept-source").exit_code == 0
    assert batch(whole, "--out", tmp_path / "undisturbed", "--layers", "scores", "--part-rows", 5).exit_code == 0
    assert as_lists(tmp_path / "out") == as_lists(tmp_path / "undisturbed")
    assert batch(*flags).exit_code == 0  # accepted once is accepted


def test_a_source_with_other_files_does_not_get_into_the_rows_of_those_that_were_there(
    batch: Batch, damaged: Path, tmp_path: Path
) -> None:
    flags = [damaged, "--out", tmp_path / "out", "--layers", "scores"]
    batch(*flags)
    before = read_bytes(tmp_path / "out")
    (damaged / "0000.png").rename(damaged / "0005b.png")
    (damaged / "0003.png").write_bytes((damaged / "0001.png").read_bytes())
    done = batch(*flags, "--accept-source")
    assert done.exit_code == 1
    assert "the source has other rows than when the job began: '0004.png' in the place of '0003.png'" in done.stderr
    assert read_bytes(tmp_path / "out") == before


def test_a_result_is_a_source_again(batch: Batch, damaged: Path, tmp_path: Path) -> None:
    batch(damaged, "--out", tmp_path / "flat", "--layers", "flat")
    done = batch(
        tmp_path / "flat",
        "--image-column",
        "flat",
        "--key-column",
        "key",
        "--out",
        tmp_path / "on",
        "--layers",
        "scores",
    )
    assert done.exit_code == 3
    batch(damaged, "--out", tmp_path / "whole", "--layers", "scores")
    assert repr(as_lists(tmp_path / "on")) == repr(
        as_lists(tmp_path / "whole")
    )  # NaN, where rows failed, is no equal of itself


def as_lists(out: Path) -> dict[str, list[object]]:
    return {
        name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in read_result(out).items()
    }


def test_a_finished_job_is_not_done_again(batch: Batch, pictures: Path, tmp_path: Path) -> None:
    batch(pictures, "--out", tmp_path / "out")
    times = [path.stat().st_mtime_ns for path in parts(tmp_path / "out")]
    done = batch(pictures, "--out", tmp_path / "out")
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, "nothing was left to do")
    assert [path.stat().st_mtime_ns for path in parts(tmp_path / "out")] == times


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        (["--layers", "double"], "layers: scores there, double here"),
        (["--layers", "scores", "--reduce", "half"], "reductions: scores=none there, scores=half here"),
        (["--layers", "scores", "--model", "tiny:12"], "model: tiny:1 there, tiny:12 here"),
        (["--layers", "scores", "--part-rows", 7], "part_rows: 60 there, 7 here"),
    ],
)
def test_another_job_into_the_same_place_is_refused(
    batch: Batch, pictures: Path, tmp_path: Path, flags: list[object], what: str
) -> None:
    batch(pictures, "--out", tmp_path / "out", "--layers", "scores", "--part-rows", 60)
    before = read_bytes(tmp_path / "out")
    done = batch(pictures, "--out", tmp_path / "out", *flags)
    assert done.exit_code == 1
    assert f"{tmp_path / 'out'} holds the result of another job" in done.stderr
    assert what in done.stderr
    assert read_bytes(tmp_path / "out") == before


def test_a_folder_that_holds_something_else_is_refused(batch: Batch, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    done = batch(pictures, "--out", tmp_path)
    assert done.exit_code == 1
    assert "expected an empty folder, or the result of this job; it holds notes.txt" in done.stderr


def test_a_large_result_needs_a_yes(batch: Batch, pictures: Path, tmp_path: Path) -> None:
    flags = [pictures, "--out", tmp_path / "out", "--layers", "scores", "--ask-above", "0"]
    refused = batch(*flags)
    assert refused.exit_code == 1
    assert "give --yes to go on, or --reduce to keep less" in refused.stderr
    assert not parts(tmp_path / "out")
    assert batch(*flags, "--yes").exit_code == 0


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--layers", "scoers"], "unknown layer 'scoers'; nearest: 'scores'"),
        (["--layers", "predictions", "--reduce", "half"], "label and score are made of this layer"),
        (
            ["--layers", "flat", "--reduce", "mean"],
            "flat: the reductions of this layer are: channels, top_channels, half; received mean",
        ),
        (["--model", "tiny:99"], "99"),
    ],
)
def test_what_cannot_be_asked_is_said_before_anything_is_written(
    batch: Batch, pictures: Path, tmp_path: Path, flags: list[str], words: str
) -> None:
    done = batch(pictures, "--out", tmp_path / "out", *flags)
    assert done.exit_code == 1
    assert words in done.stderr
    assert not (tmp_path / "out" / "_strata.json").exists()


def test_reductions_without_layers_are_wrong_usage(batch: Batch, pictures: Path, tmp_path: Path) -> None:
    done = batch(pictures, "--out", tmp_path / "out", "--reduce", "mean")
    assert (done.exit_code, "expected --layers" in done.stderr) == (2, True)


def test_pictures_that_are_all_none_are_rows_with_their_reasons(batch: Batch, tmp_path: Path) -> None:
    folder = tmp_path / "none"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number}.png").write_bytes(b"")
    done = batch(folder, "--out", tmp_path / "out", "--layers", "scores")
    assert done.exit_code == 3
    assert read_result(tmp_path / "out")["error_code"] == ["INVALID_ARGUMENT"] * 40


def test_arrays_for_a_layer_that_is_not_there_are_refused_at_once(batch: Batch, tmp_path: Path) -> None:
    np.savez(tmp_path / "wrong.npz", flta=np.zeros((3, SIDE * SIDE), np.float32))
    done = batch(tmp_path / "wrong.npz", "--out", tmp_path / "out", "--layers", "scores")
    assert done.exit_code == 1
    assert "unknown layer 'flta', of which the source has arrays" in done.stderr


@pytest.mark.parametrize("format_name", ["npz", "zarr"])
def test_a_result_of_another_format_is_left_as_it_is(
    batch: Batch, pictures: Path, tmp_path: Path, format_name: str
) -> None:
    batch(pictures, "--out", tmp_path / "out", "--layers", "scores")
    before = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert batch(pictures, "--out", tmp_path / "out", "--layers", "scores", "--format", format_name).exit_code == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == before


def test_a_place_that_is_refused_is_left_as_it_is(batch: Batch, pictures: Path) -> None:
    before = sorted(pictures.iterdir())
    assert batch(pictures, "--out", pictures).exit_code == 1
    assert sorted(pictures.iterdir()) == before


def test_a_table_whose_result_lies_beneath_it_can_be_gone_on_with(batch: Batch, pictures: Path, tmp_path: Path) -> None:
    table = pa.table({"image": [path.read_bytes() for path in sorted(pictures.iterdir())]})
    (tmp_path / "table").mkdir()
    pq.write_table(table, tmp_path / "table" / "pictures.parquet")
    flags = [tmp_path / "table", "--out", tmp_path / "table" / "out", "--layers", "scores"]
    assert batch(*flags).exit_code == 0
    done = batch(*flags)
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, "nothing was left to do")


def test_a_server_that_is_not_there_is_a_failed_job(pictures: Path, tmp_path: Path) -> None:
    done = run("batch", "--server", "127.0.0.1:9", pictures, "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "no server answers at 127.0.0.1:9" in done.stderr


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(each) for each in arguments])


def as_tar(pictures: Path, folder: Path) -> Path:
    with tarfile.open(folder / "shots.tar.gz", "w:gz") as tar:
        for file in sorted(pictures.iterdir()):
            tar.add(file, file.name)
    return folder / "shots.tar.gz"


def as_list(pictures: Path, folder: Path) -> Path:
    (folder / "shots.txt").write_text("".join(f"{file}\n" for file in sorted(pictures.iterdir())))
    return folder / "shots.txt"


def as_glob(pictures: Path, _folder: Path) -> Path:
    return pictures / "*.png"


@pytest.mark.parametrize("make", [as_tar, as_list, as_glob])
def test_the_same_pictures_give_the_same_from_wherever_they_come(
    batch: Batch, pictures: Path, tmp_path: Path, make: Callable[[Path, Path], Path]
) -> None:
    batch(pictures, "--out", tmp_path / "a", "--layers", "scores")
    done = batch(make(pictures, tmp_path), "--out", tmp_path / "b", "--layers", "scores")
    assert done.exit_code == 0, done.output
    one, other = read_result(tmp_path / "a"), read_result(tmp_path / "b")
    assert [Path(key).name for key in other["key"]] == one["key"]
    np.testing.assert_array_equal(one["scores"], other["scores"])
    assert one["label"] == other["label"]


def test_arrays_enter_at_the_layer_of_their_name(batch: Batch, pictures: Path, tmp_path: Path) -> None:
    batch(pictures, "--out", tmp_path / "a.npz", "--layers", "flat")
    with np.load(tmp_path / "a.npz") as archive:
        flat: npt.NDArray[np.float32] = archive["flat"]
        labels = archive["label"].tolist()
    assert flat.shape == (COUNT, SIDE * SIDE)
    np.savez(tmp_path / "flat.npz", flat=flat)
    done = batch(tmp_path / "flat.npz", "--out", tmp_path / "b", "--layers", "scores")
    assert done.exit_code == 0, done.output
    found = read_result(tmp_path / "b")
    assert (found["key"][:2], found["label"]) == (["0", "1"], labels)


@pytest.mark.parametrize("ending", ["npz", "zarr"])
def test_other_formats_hold_the_same_and_go_on_as_well(
    batch: Batch, damaged: Path, tmp_path: Path, ending: str
) -> None:
    out = tmp_path / f"out.{ending}"
    flags = [damaged, "--out", out, "--layers", "scores", "--part-rows", 4]
    assert batch(*flags).exit_code == 3
    assert read_summary(batch(*flags, "--json"))["asked"] == 2
    batch(damaged, "--out", tmp_path / "parquet", "--layers", "scores")
    np.testing.assert_array_equal(read_scores(out), read_result(tmp_path / "parquet")["scores"])


def read_scores(out: Path) -> object:
    if out.suffix == ".npz":
        with np.load(out) as archive:
            return archive["scores"]
    return np.asarray(zarr.open_group(out, mode="r")["scores"])


def test_the_fingerprint_stands_in_every_part_and_in_the_manifest(batch: Batch, pictures: Path, tmp_path: Path) -> None:
    summary = read_summary(batch(pictures, "--out", tmp_path / "out", "--part-rows", 20, "--json"))
    manifest = json.loads((tmp_path / "out" / "_strata.json").read_bytes())
    stamps = [json.loads(pq.read_metadata(path).metadata[b"strata"]) for path in parts(tmp_path / "out")]
    assert len(stamps) == 3
    assert {stamp["fingerprint"] for stamp in stamps} == {manifest["fingerprint"]} == {summary["fingerprint"]}
    assert len(manifest["job"]["artifact"]) == 64
    assert manifest["job"]["preprocessing"]["input"] == "image"


def test_without_a_server_the_artifact_gives_the_same_bytes(
    batch: Batch, tiny: ServerProcess, pictures: Path, tmp_path: Path
) -> None:
    assert batch(pictures, "--out", tmp_path / "asked", "--layers", "scores").exit_code == 0
    artifact = tiny.folder / "tiny" / "1" / "model.onnx"
    flags = ["--artifact", artifact, "--server", "127.0.0.1:9"]  # where nobody is
    done = batch(pictures, "--out", tmp_path / "alone", "--layers", "scores", *flags)
    assert done.exit_code == 0, done.output
    assert read_bytes(tmp_path / "alone") == read_bytes(tmp_path / "asked")
