"""A batch on a Ray cluster of two nodes: the same result as anywhere else, whatever happens to a node."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from artifacts import SIDE, write_artifact
from clusters import RayCluster, cluster
from PIL import Image
from processes import BIN, ServerProcess, serving
from waiting import wait_until

ROWS, PART_ROWS = 60, 2
BROKEN = 7
STRATA = str(BIN / "strata")
SLOWLY = ("--request-rows", "1", "--in-flight", "1", "--part-rows", str(PART_ROWS))


@pytest.fixture(scope="module")
def nodes() -> Iterator[RayCluster]:
    with cluster() as nodes:
        yield nodes


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = tmp_path_factory.mktemp("models")
    write_artifact(models)
    return models


@pytest.fixture(scope="module")
def served(models: Path) -> Iterator[ServerProcess]:
    with serving(models) as server:
        yield server


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures, one of which is none."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, pixels in enumerate(np.random.default_rng(3).integers(0, 256, (ROWS, SIDE, SIDE), np.uint8)):
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    (folder / f"{BROKEN:02}.png").write_bytes(b"no picture")
    return folder


def ask(server: ServerProcess, pictures: Path, out: Path, *flags: str) -> list[str]:
    return [STRATA, "batch", str(pictures), "--out", str(out), "--layers", "double", "--server", server.grpc, *flags]


def on(nodes: RayCluster) -> tuple[str, ...]:
    return ("--engine", "ray", "--ray-address", nodes.address)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def read_parts(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.glob("part-*.parquet"))}


def keep_own(stderr: str) -> list[str]:
    """Return the lines of standard error but the first, which announces the job, and those that tell its progress."""
    return [line for line in stderr.splitlines()[1:] if " images (" not in line]


@pytest.mark.full_size
def test_a_node_that_cannot_write_ends_the_job_by_its_name(
    nodes: RayCluster, served: ServerProcess, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert run(*ask(served, pictures, out, "--part-rows", "40")).returncode == 3
    (out / "part-00001.parquet").unlink()
    (out / "part-00001.parquet").mkdir()  # Root could write to a folder that is closed to others.
    done = run(*ask(served, pictures, out, *on(nodes)))
    assert done.returncode == 1
    [line] = keep_own(done.stderr)
    assert line.startswith(f"strata: {out}/part-00001.parquet: is not a regular file (on ")


@pytest.mark.full_size
def test_a_job_whose_server_is_gone_ends_and_goes_on_here(
    nodes: RayCluster, models: Path, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with serving(models) as server:
        command = ask(server, pictures, out, *SLOWLY, "--patience", "1", *on(nodes))
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as job:
            wait_until(lambda: job.poll() is not None or len(read_parts(out)) > 2, 100)
            server.signal_stop()
            stdout, stderr = job.communicate(timeout=60)
    assert (job.returncode, stdout) == (1, ""), stderr
    [line] = keep_own(stderr)
    assert line.startswith("strata: no answer for ")
    assert 2 < len(read_parts(out)) < ROWS // PART_ROWS
    with serving(models) as server:
        assert run(*ask(server, pictures, out)).returncode == 3
    assert read_parts(out).keys() == {f"part-{number:05}.parquet" for number in range(ROWS // PART_ROWS)}


def test_addresses_without_a_cluster_are_refused_in_a_line(
    served: ServerProcess, pictures: Path, tmp_path: Path
) -> None:
    for address, reason in {
        "ray://127.0.0.1:1": "Ray cluster: expected HOST:PORT, or auto for that of this machine; received 'ray://127",
        "127.0.0.1:1": "no Ray cluster answers at 127.0.0.1:1: ",
    }.items():
        done = run(*ask(served, pictures, tmp_path / "out", "--engine", "ray", "--ray-address", address))
        assert done.returncode == 1
        [line] = keep_own(done.stderr)
        assert line.startswith(f"strata: {reason}")


def test_without_ray_it_says_what_to_install(served: ServerProcess, pictures: Path, tmp_path: Path) -> None:
    without = "import sys; sys.modules['ray'] = None; from strata_client.cli import main; main(sys.argv[1:])"
    done = run(sys.executable, "-c", without, *ask(served, pictures, tmp_path / "out", "--engine", "ray")[1:])
    assert done.returncode == 1
    assert keep_own(done.stderr) == ["strata: ray is not installed: pip install 'strata-client[ray]'"]


def test_an_actor_with_an_artifact_goes_on_where_a_server_was_asked(
    nodes: RayCluster, served: ServerProcess, models: Path, pictures: Path, tmp_path: Path
) -> None:
    out, whole, copy = tmp_path / "out", tmp_path / "whole", tmp_path / "copy"
    shutil.copytree(pictures, copy)
    assert run(*ask(served, copy, out, "--part-rows", "40")).returncode == 3
    (out / "part-00001.parquet").unlink()
    shutil.copy(copy / "00.png", copy / f"{BROKEN:02}.png")
    artifact = ("--artifact", str(models / "tiny" / "1" / "model.onnx"))
    command = [STRATA, "batch", str(copy), "--out", str(out), "--layers", "double", "--accept-source", "--json"]
    done = run(*command, *artifact, *on(nodes), "--ray-actors", "1")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["asked"], told["failed"], told["parts"]) == (1 + 20, 0, 2)
    assert not keep_own(done.stderr)
    assert run(*ask(served, copy, whole, "--part-rows", "40")).returncode == 0
    assert pq.read_table(out).equals(pq.read_table(whole))


# The last one: a node less is left behind it.
def test_a_node_killed_in_the_middle_leaves_the_result_as_it_would_have_been(
    nodes: RayCluster, served: ServerProcess, pictures: Path, tmp_path: Path
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    assert run(*ask(served, pictures, here, *SLOWLY)).returncode == 3
    command = ask(served, pictures, there, *SLOWLY, *on(nodes))
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as job:
        wait_until(lambda: job.poll() is not None or bool(nodes.actors(1) and len(read_parts(there)) > 2), 100)
        served.process.send_signal(signal.SIGSTOP)  # both nodes are at a part, and cannot end it
        before = len(read_parts(there))
        nodes.kill(1)
        served.process.send_signal(signal.SIGCONT)
        stdout, stderr = job.communicate(timeout=100)
    assert before < ROWS // PART_ROWS
    assert job.returncode == 3, stderr
    assert read_parts(there) == read_parts(here)
    assert f"asked for {ROWS} in " in stdout
    assert stdout.splitlines()[2:] == [line for line in stdout.splitlines() if line.startswith("1 INVALID_ARGUMENT")]
    assert not keep_own(stderr)
