import json
import signal
import socket
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner, Result
from processes import BIN
from strata_client.cli import main
from strata_client.cli.exits import MEANINGS

Peer = Callable[..., AbstractContextManager[str]]
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
        (["health", "--model", "nope"], "strata: unknown model 'nope'; there are 1: 'tiny'"),
        (["models", "--model", "nope"], "strata: unknown model 'nope'; there are 1: 'tiny'"),
        (["diff", "tiny:1", "nope", "PICTURE"], "strata: unknown model 'nope'; there are 1: 'tiny'"),
        (["diff", "tiny:1", "tiny", "PICTURE", "--layers", "x"], "strata: tiny:1 has no layer 'x'"),
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
        ["models", "--timeout", "nan"],
        ["models", "--timeout", "inf"],
        ["models", "--server", ""],
        ["models", "--server", "foo"],
        ["models", "--server", "foo:1,foo:1"],
        ["activations", "x.png", "--layers", "a", "--reduce", "median"],
        ["activations", "x.png", "--layers", "a", "--reduce", "mean", "--reduce", "max"],
        ["activations", "x.png", "--layers", "a", "--reduce", "top:3", "--plot", "x.png"],
        ["activations", "x.png", "--layers", "a", "--reduce", "a=statistics", "--plot", "x.png"],
        ["diff", "a", "b"],
        ["diff", "a", "b", "x.png", "--tolerance", "-1"],
        ["diff", "a", "b", "x.png", "--tolerance", "nan"],
        ["diff", "a", "b", "x.png", "--layers", ","],
        ["predict", "-", "-"],
        ["diff", "a", "b", "-", "x.npy", "-"],
        ["models", "--cert", "x.pem"],
        ["models", "--key", "x.pem"],
        ["completion", "csh"],
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


@pytest.mark.parametrize("arguments", [["layers"], ["models"], ["diff", "a", "b"], ["predict"], ["health"]])
def test_where_nobody_answers_it_is_worth_trying_again(picture: Path, arguments: list[str]) -> None:
    files = [str(picture)] * 2 if arguments[0] in {"diff", "predict"} else []
    done = CliRunner().invoke(main, [*arguments, *files, "--server", "localhost:1"])
    assert done.exit_code == 4
    if arguments != ["health"]:
        assert (done.stdout, done.stderr) == ("", "strata: no server answers at localhost:1: Connection refused\n")


@pytest.mark.parametrize(("pushback", "exit_code"), [("1", 4), ("-1", 1)])
def test_a_busy_server_is_worth_another_try_and_a_limit_is_not(peer: Peer, pushback: str, exit_code: int) -> None:
    def refuse(_: object, context: grpc.ServicerContext) -> None:
        context.set_trailing_metadata((("grpc-retry-pushback-ms", pushback),))
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too much")

    with peer({"ListModels": refuse}) as address:
        done = CliRunner().invoke(main, ["models", "--server", address, "--timeout", "0.2"])
    assert (done.exit_code, done.stderr) == (exit_code, "strata: too much\n")


@pytest.mark.parametrize(
    ("arguments", "exit_code", "code"),
    [
        (["layers", "nope"], 1, "NOT_FOUND"),
        (["activations", "/none.png", "--layers", "image"], 1, "UNREADABLE"),
        (["diff", "tiny:1", "tiny", "/"], 1, "INVALID_ARGUMENT"),
        (["models", "--server", "localhost:1"], 4, "UNAVAILABLE"),
        (["models", "--timeout", "0"], 2, "USAGE"),
        (["models", "--timeout", "nan"], 2, "USAGE"),
        (["models", "--server", "foo"], 2, "USAGE"),
        (["layers", "tiny:1", "--model", "tiny:12"], 2, "USAGE"),
        (["predict"], 2, "USAGE"),
    ],
)
def test_machines_get_an_error_as_one_document_on_standard_error(
    strata: Run, arguments: list[str], exit_code: int, code: str
) -> None:
    done = strata(*arguments, "--json")
    assert (done.exit_code, done.stdout) == (exit_code, "")
    (line,) = done.stderr.splitlines()
    document = json.loads(line)
    assert (list(document), list(document["error"])) == (["error"], ["code", "message"])
    assert document["error"]["code"] == code


def test_ctrl_c_ends_a_command_without_a_word() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        command: list[str | Path] = [BIN / "strata", "models", "--server", f"127.0.0.1:{deaf.getsockname()[1]}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
            deaf.settimeout(30)
            connection, _ = deaf.accept()
            with connection:
                running.send_signal(signal.SIGINT)
                assert (*running.communicate(timeout=30), running.returncode) == (b"", b"", 130)


def test_the_exit_codes_are_in_the_help_and_in_the_documentation() -> None:
    page = " ".join(CliRunner().invoke(main, ["--help"]).output.split())
    readme = (Path(__file__).parents[3] / "client" / "README.md").read_text()
    for code, meaning in MEANINGS.items():
        assert f"{int(code)} {meaning}" in page
        assert f"| {int(code)} | {meaning} |" in readme
