from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Run = Callable[..., Result]


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


@pytest.mark.parametrize("command", [["predict"], ["activations", "--layers", "image"], ["diff", "tiny:1", "tiny:12"]])
@pytest.mark.parametrize("name", ["bad.npy", "bad.npz"])
def test_a_bad_file_of_arrays_is_one_line(strata: Run, tmp_path: Path, command: list[str], name: str) -> None:
    (tmp_path / name).write_bytes(b"\x93NUMPY no array\n\x1b[2J")
    done = strata(*command, tmp_path / name)
    assert (done.exit_code, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"strata: {tmp_path / name}: expected an .np")
    assert "\x1b" not in line
