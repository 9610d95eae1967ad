import json
import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from processes import BIN, ServerProcess
from strata.v1.catalog_pb2 import ListModelsResponse
from strata_client.cli import main
from terminals import on_terminal

Peer = Callable[..., AbstractContextManager[str]]

BREAKS = " \t\n\"'@><=;|&(:"  # bash's own


def complete(line: str, server: str) -> list[str]:
    """Return what zsh is offered."""
    environment = {
        "_STRATA_COMPLETE": "zsh_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split(" ")) - 1),
        "STRATA_SERVER": server,
    }
    done = CliRunner().invoke(main, [], prog_name="strata", env=environment)
    assert done.stderr == ""
    return [value for value in done.output.split("\n")[1::3] if value]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("strata lay", ["layers"]),
        ("strata layers t", ["tiny"]),
        ("strata layers tiny:", ["tiny:1", "tiny:12"]),
        ("strata predict --model ti", ["tiny"]),
        ("strata diff tiny:1 tiny:12", ["tiny:12"]),
        ("strata activations --layers ", ["image", "double", "flat", "scores", "predictions"]),
        ("strata activations x.png --layers image,d", ["image,double"]),
        ("strata activations --layers=image,double,f", ["image,double,flat"]),
        ("strata activations --layers double,double,do", []),
        ("strata diff tiny:1 tiny:12 --layers sc", ["scores"]),
        ("strata activations --layers double,flat --reduce f", ["flat="]),
        ("strata activations --reduce pre", ["predictions="]),
        ("strata activations --reduce flat=m", ["flat=mean", "flat=max"]),
        ("strata activations --reduce sta", ["statistics"]),
        ("strata layers --model nope --server localhost:1 --model ", []),
        ("strata completion z", ["zsh"]),
        ("strata predict --ca", ["--ca"]),
    ],
)
def test_what_is_typed_is_completed_with_what_the_server_has(
    tiny: ServerProcess, line: str, offered: list[str]
) -> None:
    assert complete(line, tiny.grpc) == offered


def test_a_name_that_a_shell_would_obey_is_not_offered(peer: Peer) -> None:
    hostile = ["$(date)", "a;b", "-rf", "a b", "`x`", "a\nb", "~x", "=x", "'", "a&b", "{a,b}", "*", "[a]", "#a", "!a"]

    def answer(*_: Any) -> ListModelsResponse:
        return ListModelsResponse(models=[{"name": name, "version": "1"} for name in (*hostile, "größe/b.c_d-1")])

    with peer({"ListModels": answer}) as address:
        assert complete("strata layers ", address) == ["größe/b.c_d-1"]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("strata layers tiny:1", ["plain,1", "plain,12"]),
        ("strata activations --layers=im", ["plain,image"]),
        ("strata activations --reduce=flat=me", ["plain,mean"]),
        ("strata activations --reduce flat=me", ["plain,mean"]),
        ('strata activations --layers "ima', ["plain,image"]),
        ("strata activations pict", ["file,pict"]),
    ],
)
def test_bash_is_offered_what_stands_behind_the_letters_where_it_splits_words(
    tiny: ServerProcess, line: str, offered: list[str]
) -> None:
    environment = {
        "_STRATA_COMPLETE": "bash_complete",
        "STRATA_LINE": line,
        "STRATA_BREAKS": BREAKS,
        "STRATA_SERVER": tiny.grpc,
    }
    done = CliRunner().invoke(main, [], prog_name="strata", env=environment)
    assert done.output.splitlines() == offered


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_a_real_bash_completes_names_of_a_real_server(tiny: ServerProcess, tmp_path: Path) -> None:
    environment = {
        "PATH": f"{BIN}:{os.defpath}",
        "STRATA_SERVER": tiny.grpc,
        "PS1": "ready> ",
        "TERM": "dumb",
        "HOME": str(tmp_path),
    }
    with on_terminal(["bash", "--norc", "--noprofile", "-i"], environment, columns=200) as bash:
        bash.wait_for("ready> $")
        bash.type('eval "$(strata completion bash)"; echo evalua""ted\r')
        bash.wait_for("evaluated\r\nready> $")
        bash.type("strata lay\t tin\t:12")
        bash.wait_for("strata layers  tiny :12$")
        bash.type(" --model tiny:12\t")
        bash.wait_for("--model tiny:12 $")
        bash.type("\x15strata activations --layers image,dou\t--reduce double=sta\t")
        bash.wait_for("--layers image,double --reduce double=statistics $")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_asks_the_command(shell: str) -> None:
    done = CliRunner().invoke(main, ["completion", shell])
    assert done.exit_code == 0
    assert f"_STRATA_COMPLETE={shell}_complete" in done.output
    document = json.loads(CliRunner().invoke(main, ["completion", shell, "--json"]).output)
    assert document == {"shell": shell, "script": done.output}
