import json
from collections.abc import Callable, Iterator

import pytest
from artifacts import write_artifact, write_bytes
from click.testing import CliRunner, Result
from processes import ServerProcess, serving
from strata_client.cli import main

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def explicit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Serve a good model beside a broken one; both can be loaded."""
    models = tmp_path_factory.mktemp("repository")
    write_artifact(models, "tiny", 3)
    write_bytes(models, b"no model", "broken")
    with serving(models, "--repository", "explicit") as server:
        yield server


def ask(server: ServerProcess, *arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--server", server.grpc])


def test_all_models_are_those_of_the_repository_with_their_reasons(explicit: ServerProcess) -> None:
    header, broken, tiny = ask(explicit, "models", "--all").output.splitlines()
    assert header.split() == ["model", "version", "state", "reason"]
    assert broken.split()[:3] == ["broken", "1", "unavailable"]
    assert "not an ONNX model" in broken
    assert tiny.split() == ["tiny", "3", "ready"]
    document = json.loads(ask(explicit, "models", "--all", "--model", "tiny", "--json").output)
    assert document == {"versions": [{"name": "tiny", "version": "3", "state": "ready", "reason": ""}]}


def test_a_model_is_served_no_longer_and_again(explicit: ServerProcess) -> None:
    assert ask(explicit, "unload", "tiny").output == "tiny: no longer served\n"
    assert ask(explicit, "models", "--all", "--model", "tiny").output.split()[-2:] == ["unavailable", "unloaded"]
    assert ask(explicit, "load", "tiny").output == "tiny: served, version 3\n"
    assert json.loads(ask(explicit, "unload", "tiny", "--json").output) == {"model": "tiny"}
    (model,) = json.loads(ask(explicit, "load", "tiny", "--json").output)["models"]
    assert (model["name"], model["version"]) == ("tiny", "3")


def test_what_cannot_be_loaded_says_why(explicit: ServerProcess) -> None:
    for arguments in (["load", "broken"], ["load", "nope"], ["unload", "nope"], ["models", "--all", "--model", "nope"]):
        done = ask(explicit, *arguments)
        assert (done.exit_code, done.stdout) == (1, "")
        assert arguments[-1] in done.stderr


def test_a_server_with_a_fixed_repository_refuses(strata: Run) -> None:
    done = strata("load", "tiny", "--json")
    assert (done.exit_code, json.loads(done.stderr)["error"]["code"]) == (1, "PERMISSION_DENIED")


def test_a_model_that_is_not_served_is_completed_for_load(explicit: ServerProcess) -> None:
    environment = {"COMP_CWORD": "2", "STRATA_SERVER": explicit.grpc, "_STRATA_COMPLETE": "zsh_complete"}
    for command, offered in (("load", ["broken"]), ("unload", [])):
        done = CliRunner().invoke(
            main, [], prog_name="strata", env={**environment, "COMP_WORDS": f"strata {command} br"}
        )
        assert [value for value in done.output.split("\n")[1::3] if value] == offered
