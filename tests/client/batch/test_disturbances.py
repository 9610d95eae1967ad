"""Whatever happens to a batch, or to its servers, its result is that of an undisturbed run, byte for byte."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from artifacts import tiny_model, write_artifact
from processes import ServerProcess, serving

from .conftest import Begin, Job, parts, read_bytes, write_pictures

ROWS = 200
SLOWLY = ("--layers", "double", "--part-rows", 5, "--request-rows", 1, "--in-flight", 1)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two hundred pictures."""
    return write_pictures(tmp_path_factory.mktemp("many") / "shots", ROWS)


@pytest.fixture(scope="module")
def undisturbed(tiny: ServerProcess, many: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The result of a run that nothing has happened to."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    assert Job(tiny.grpc, many, "--out", out, *SLOWLY).end() == 0
    return read_bytes(out)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server that may be ended."""
    server = ServerProcess(write_models(tmp_path))
    yield server
    server.kill()


def write_models(folder: Path, factor: float = 2) -> Path:
    write_artifact(folder / f"models-{factor}", version=1, model=tiny_model(factor))
    return folder / f"models-{factor}"


def test_killed_again_and_again_it_ends_with_the_same_result(
    begin: Begin, tiny: ServerProcess, many: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for count in (1, 9, 23):
        job = begin(tiny.grpc, many, "--out", out, *SLOWLY)
        job.hold(out, count)
        job.process.kill()
        job.end()
    assert len(parts(out)) < len(undisturbed)
    assert begin(tiny.grpc, many, "--out", out, *SLOWLY).end() == 0
    assert read_bytes(out) == undisturbed
    assert not list(out.glob(".strata-*"))


def test_interrupted_it_says_how_to_go_on_and_a_second_one_is_kept_out(
    begin: Begin, tiny: ServerProcess, many: Path, tmp_path: Path
) -> None:
    job = begin(tiny.grpc, many, "--out", tmp_path, *SLOWLY)
    job.hold(tmp_path, 1)
    second = begin(tiny.grpc, many, "--out", tmp_path, *SLOWLY)
    assert second.end() == 1
    assert f"process {job.process.pid} is at work there" in second.errors
    job.process.send_signal(signal.SIGINT)
    job.go_on()
    assert job.end() == 130
    assert job.errors.splitlines()[-1] == "strata: stopped; the same command goes on from here"


def test_a_server_that_is_killed_and_comes_back_loses_no_row(
    begin: Begin, server: ServerProcess, many: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    job = begin(server.grpc, many, "--out", tmp_path / "out", *SLOWLY)
    job.hold(tmp_path / "out", 3)
    server.kill()
    job.go_on()  # it asks, and nobody is there
    with serving(tmp_path / "models-2", "--grpc-port", server.grpc.rpartition(":")[2]):
        assert job.end() == 0, job.errors
    assert read_bytes(tmp_path / "out") == undisturbed


def test_one_server_of_two_may_go_and_the_other_answers(
    begin: Begin,
    server: ServerProcess,
    tiny: ServerProcess,
    many: Path,
    undisturbed: dict[str, bytes],
    tmp_path: Path,
) -> None:
    job = begin(f"{server.grpc},{tiny.grpc}", many, "--out", tmp_path / "out", *SLOWLY, "--patience", 20)
    job.hold(tmp_path / "out", 3)
    job.go_on()
    server.signal_stop()
    assert job.end() == 0, job.errors
    assert read_bytes(tmp_path / "out") == undisturbed


def test_a_server_with_too_much_to_do_is_asked_again(
    begin: Begin, many: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    with serving(write_models(tmp_path), "--queue-rows", "2", "--batch-rows", "1", "--batch-wait-us", "2000") as server:
        flags = [*SLOWLY, "--in-flight", 8]
        jobs = [begin(server.grpc, many, "--out", tmp_path / f"out-{n}", *flags) for n in range(2)]
        assert [job.end() for job in jobs] == [0, 0]
    assert read_bytes(tmp_path / "out-0") == read_bytes(tmp_path / "out-1") == undisturbed


def test_another_artifact_under_the_same_version_ends_the_job_and_leaves_nothing_of_its_answers(
    begin: Begin, server: ServerProcess, many: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    job = begin(server.grpc, many, "--out", tmp_path / "out", *SLOWLY)
    job.hold(tmp_path / "out", 3)
    server.kill()
    with serving(write_models(tmp_path, factor=3), "--grpc-port", server.grpc.rpartition(":")[2]):
        job.go_on()
        assert job.end() == 1, job.errors
    assert "tiny:1 is another artifact than this job began with" in job.errors
    left = read_bytes(tmp_path / "out")
    assert len(left) < len(undisturbed)
    assert left.items() <= undisturbed.items()


def test_a_job_whose_server_stays_away_fails_and_can_be_gone_on_with(
    begin: Begin,
    server: ServerProcess,
    tiny: ServerProcess,
    many: Path,
    undisturbed: dict[str, bytes],
    tmp_path: Path,
) -> None:
    job = begin(server.grpc, many, "--out", tmp_path / "out", *SLOWLY, "--patience", 1)
    job.hold(tmp_path / "out", 3)
    server.kill()
    job.go_on()
    assert job.end() == 1, job.errors
    assert "no answer for" in job.errors.splitlines()[-1]
    assert begin(tiny.grpc, many, "--out", tmp_path / "out", *SLOWLY).end() == 0
    assert read_bytes(tmp_path / "out") == undisturbed
