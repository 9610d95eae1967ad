"""A training that is killed, or runs out of disk, is gone on with as if nothing had been."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from processes import BIN
from strata_training.config import read_config
from training.workplace import Invoke

# Dropout and augmentation draw at random in every step: going on has to draw what would have been drawn.
FIT = (
    *("fit", "--data", "digits", "--network", "cnn", "--filters", "4,8", "--epochs", "4", "--patience", "9"),
    *("--shift-pixels", "0", "--augment", "shift:0.1,rotate:0.02", "--seed", "3"),
)
TUNE = ("--freeze-until", "pool1", "--unfreeze-last", "2", "--epochs", "2", "--shift-pixels", "0")


def start(*arguments: str, **options: object) -> subprocess.Popen[str]:
    command = [str(BIN / "strata-train"), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload, no-any-return]


def stop_after(epoch: int, stop: signal.Signals, *arguments: str) -> tuple[int, str]:
    """Send a signal once an epoch was told; return the exit status and the errors."""
    process = start(*arguments)
    assert process.stdout
    for line in process.stdout:
        if line.startswith(f"epoch {epoch}/"):
            process.send_signal(stop)
            break
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


def run(*arguments: str) -> str:
    done = subprocess.run(
        [str(BIN / "strata-train"), *arguments], capture_output=True, text=True, timeout=150, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def assert_same_run(first: str, second: str) -> None:
    one, two = Path("runs") / first, Path("runs") / second
    for name in ("model.keras", f"checkpoints/{len((one / 'history.csv').read_text().splitlines()) - 1}.keras"):
        weights, others = (keras.saving.load_model(path / name).get_weights() for path in (one, two))
        for expected, received in zip(weights, others, strict=True):
            np.testing.assert_array_equal(received, expected)
    assert (one / "history.csv").read_bytes() == (two / "history.csv").read_bytes()


@pytest.mark.usefixtures("empty_folder")
def test_a_run_that_is_killed_or_interrupted_ends_as_if_undisturbed(strata_train: Invoke) -> None:
    run(*FIT, "--run", "whole")
    assert stop_after(1, signal.SIGKILL, *FIT, "--run", "broken")[0] == -signal.SIGKILL
    refused = strata_train("export", "--from", "broken", "--model", "m", "--models", "models")
    assert "the run 'broken' is not finished; to go on: strata-train fit --run broken --resume" in refused.stderr
    status, errors = stop_after(2, signal.SIGINT, "fit", "--run", "broken", "--resume")
    assert (status, errors.strip()) == (130, "strata-train: stopped; to go on: strata-train fit --run broken --resume")
    told = run("fit", "--run", "broken", "--resume", "--seed", "3", "--epochs", "4")
    assert "epoch 1/4" not in told
    assert_same_run("whole", "broken")
    again = strata_train("fit", "--run", "broken", "--resume")
    assert (again.exit_code, again.stderr.strip()) == (
        1,
        "strata-train: the run 'broken' is finished: there is nothing to go on with",
    )


@pytest.mark.usefixtures("empty_folder")
def test_a_tuning_that_is_killed_in_its_second_stage_ends_as_if_undisturbed() -> None:
    run(*FIT, "--run", "base", "--classes", "0,1,2", "--epochs", "1")
    tune = ("finetune", "--from", "base", "--data", "digits", "--classes", "3,4,5", *TUNE)
    run(*tune, "--run", "whole")
    stop_after(3, signal.SIGKILL, *tune, "--run", "broken")
    run("finetune", "--run", "broken", "--resume")
    assert_same_run("whole", "broken")


@pytest.mark.usefixtures("empty_folder")
def test_a_changed_flag_is_refused_by_its_name_and_the_run_stays(strata_train: Invoke) -> None:
    stop_after(1, signal.SIGKILL, *FIT, "--run", "broken")
    before = sorted(Path("runs/broken").rglob("*"))
    for flag, value, told in (
        ("--seed", "4", "--seed: the run has 3, received 4"),
        ("--filters", "4,9", "--filters: the run has (4, 8), received (4, 9)"),
        ("--kernel", "5", "--kernel: the run has None, received 5"),
        ("--learning-rate", "0.1", "--learning-rate: the run has 0.001, received 0.1"),
        ("--data", "mnist", "--data: the run has 'digits', received 'mnist'"),
    ):
        result = strata_train("fit", "--run", "broken", "--resume", flag, value)
        assert result.exit_code == 1
        assert f"{told}; a run that is gone on with keeps its flags" in result.stderr
    assert sorted(Path("runs/broken").rglob("*")) == before


@pytest.mark.usefixtures("empty_folder")
def test_a_config_reruns_a_run_and_flags_count_more(strata_train: Invoke) -> None:
    assert strata_train(*FIT[:-4], "--run", "first", "--epochs", "1").exit_code == 0
    assert strata_train("fit", "--config", "runs/first/config.toml", "--run", "again").exit_code == 0
    assert_same_run("first", "again")
    assert strata_train("fit", "--config", "runs/first/config.toml", "--run", "other", "--seed", "8").exit_code == 0
    first, other = read_config(Path("runs/first/config.toml")), read_config(Path("runs/other/config.toml"))
    assert other == {**first, "seed": 8}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data = ", "config.toml is not TOML"),
        ("colour = 1", "'colour' is no flag of `fit`"),
        ('run = "x"', "'run' is no flag of `fit`"),
        ("epochs = 0", "'--epochs': 0 is not in the range"),
        ('epochs = "many"', "'--epochs'"),
        ('data = "digits"', "Missing option '--network'"),
        (None, "no config at config.toml"),
    ],
)
def test_a_config_that_cannot_be_meant_is_told(
    empty_folder: Path, strata_train: Invoke, text: str | None, message: str
) -> None:
    if text is not None:
        (empty_folder / "config.toml").write_text(text)
    result = strata_train("fit", "--config", "config.toml", "--run", "r")
    assert result.exit_code in {1, 2}
    assert message in result.stderr
    assert not (empty_folder / "runs").exists()


@pytest.mark.usefixtures("empty_folder")
def test_a_full_disk_is_told_and_leaves_what_can_be_gone_on_with() -> None:
    def limit_files(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    process = start(*FIT, "--run", "none", preexec_fn=lambda: limit_files(20_000))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.startswith("strata-train: ")
    assert len(errors.splitlines()) == 1
    assert "File too large" in errors
    assert not Path("runs").exists()
    stop_after(1, signal.SIGKILL, *FIT, "--run", "broken")
    size = next(Path("runs/broken/checkpoints").glob("*.keras")).stat().st_size
    process = start("fit", "--run", "broken", "--resume", preexec_fn=lambda: limit_files(size // 2))
    assert process.communicate(timeout=60)[1].startswith("strata-train: ")
    assert [path.name for path in Path("runs/broken/checkpoints").iterdir()] == ["1.keras"]
    run("fit", "--run", "broken", "--resume")


@pytest.mark.usefixtures("empty_folder")
def test_two_logical_devices_share_the_steps() -> None:
    program = (
        "import sys, tensorflow as tf\n"
        "tf.config.set_logical_device_configuration(\n"
        "    tf.config.list_physical_devices('CPU')[0], [tf.config.LogicalDeviceConfiguration()] * 2)\n"
        "from strata_training import devices\n"
        "from strata_training.cli import main\n"
        "with devices.scope('mirrored'): print('replicas', tf.distribute.get_strategy().num_replicas_in_sync)\n"
        "main(sys.argv[1:])\n"
    )
    arguments = [*FIT, "--augment", "flip", "--epochs", "2", "--strategy", "mirrored", "--run", "shared"]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True, text=True, timeout=150, check=False, env={**os.environ, "KERAS_BACKEND": "tensorflow"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "replicas 2" in done.stdout
    assert float(done.stdout.partition("test accuracy  ")[2].split()[0].rstrip(",")) > 0.5
