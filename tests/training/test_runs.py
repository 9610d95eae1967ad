"""The folder of a run: made once, kept for who goes on, and never overwritten."""

from pathlib import Path

import pytest
from strata_training import runs
from strata_training.errors import BadName, Exists, NotFound, Stopped, Unsupported
from strata_training.runs import find_config, find_run, new_run, open_run


def start(name: str = "digits") -> Path:
    """Leave a run as a kill after the first epoch does."""
    folder = runs.RUNS / name
    (folder / runs.CHECKPOINTS).mkdir(parents=True)
    (folder / runs.CHECKPOINTS / "1.keras").touch()
    (folder / runs.CONFIG).write_text('data = "digits"\n')
    return folder


def contents(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("failure", [KeyboardInterrupt, MemoryError, OSError])
def test_what_fails_before_a_checkpoint_leaves_nothing(empty_folder: Path, failure: type[BaseException]) -> None:
    def fail() -> None:
        with new_run("digits") as folder:
            (folder / runs.CONFIG).touch()
            raise failure

    with pytest.raises(failure):
        fail()
    assert contents(empty_folder) == []


def test_what_breaks_off_after_a_checkpoint_can_be_gone_on_with(empty_folder: Path) -> None:
    def fail() -> None:
        with new_run("digits") as folder:
            (folder / runs.CONFIG).write_text('data = "digits"\n')
            (folder / runs.CHECKPOINTS).mkdir()
            (folder / runs.CHECKPOINTS / "1.keras").touch()
            raise KeyboardInterrupt

    with pytest.raises(Stopped, match="stopped; to go on: strata-train fit --run digits --resume"):
        fail()
    assert contents(empty_folder / "runs" / "digits") == ["checkpoints", "checkpoints/1.keras", "config.toml"]
    with open_run("digits") as folder:
        assert folder == runs.RUNS / "digits"


def test_an_error_of_the_user_leaves_nothing_whatever_was_done(empty_folder: Path) -> None:
    def fail() -> None:
        with new_run("digits") as folder:
            (folder / runs.CHECKPOINTS).mkdir()
            (folder / runs.CHECKPOINTS / "1.keras").touch()
            raise Unsupported("no")

    with pytest.raises(Unsupported):
        fail()
    assert contents(empty_folder) == []


@pytest.mark.usefixtures("empty_folder")
def test_a_run_that_was_tuned_is_gone_on_with_by_the_command_that_tunes() -> None:
    folder = start()
    (folder / runs.CONFIG).write_text('from = "base"\n')
    with pytest.raises(
        NotFound, match="'digits' is not finished; to go on: strata-train finetune --run digits --resume"
    ):
        find_run("digits")


def test_no_run_is_overwritten(empty_folder: Path) -> None:
    folder = start()
    before = contents(empty_folder)
    for expected in ("to go on: strata-train fit --run digits --resume, or choose another name", "choose another name"):
        with pytest.raises(Exists, match=f"the run 'digits' exists in runs/digits; {expected}"), new_run("digits"):
            pass
        assert contents(empty_folder) == before
        (folder / runs.RECORD).touch()
        before = contents(empty_folder)


@pytest.mark.usefixtures("empty_folder")
def test_only_one_process_works_on_a_run() -> None:
    start()
    with open_run("digits"), pytest.raises(Exists, match="another process is at work on the run 'digits'"):
        open_run("digits").__enter__()
    with open_run("digits"):
        pass  # it is free again


@pytest.mark.usefixtures("empty_folder")
def test_what_is_finished_or_unknown_is_not_gone_on_with() -> None:
    (start("done") / runs.RECORD).touch()
    start("digits")
    with pytest.raises(Exists, match="the run 'done' is finished"):
        find_config("done")
    with pytest.raises(NotFound, match="unknown unfinished run 'digit'; nearest: 'digits'"):
        find_config("digit")


@pytest.mark.parametrize("name", ["", ".hidden", "../up", "a/b", "a b", "-flag", "é", "x" * 129])
def test_a_name_that_cannot_be_a_folder_is_refused(empty_folder: Path, name: str) -> None:
    with pytest.raises(BadName, match=r"bad name of a run: expected .* received"), new_run(name):
        pass
    assert contents(empty_folder) == []


@pytest.mark.usefixtures("workplace")
def test_an_unknown_run_is_told_with_the_nearest_names() -> None:
    with pytest.raises(NotFound, match=r"unknown run 'digit'; nearest: 'digits'"):
        find_run("digit")


@pytest.mark.usefixtures("empty_folder")
def test_where_there_are_no_runs_that_is_said() -> None:
    with pytest.raises(NotFound, match=r"unknown run 'digits'; there are none"):
        find_run("digits")
