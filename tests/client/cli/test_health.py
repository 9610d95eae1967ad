import json
from collections.abc import Callable

from click.testing import CliRunner, Result
from processes import ServerProcess
from strata_client.cli import main

Run = Callable[..., Result]


def test_a_healthy_server_is_said_to_serve(strata: Run, tiny: ServerProcess) -> None:
    assert strata("health").output == "serving\n"
    assert json.loads(strata("health", "--model", "tiny", "--json").output) == {
        "serving": True,
        "servers": {tiny.grpc: "serving"},
    }


def test_of_several_servers_each_is_said_to_serve_or_not(strata: Run, tiny: ServerProcess) -> None:
    done = strata("health", "--server", f"{tiny.grpc},localhost:1")
    assert done.exit_code == 1
    serving, unreachable = done.output.splitlines()
    assert serving == f"{tiny.grpc}: serving"
    assert unreachable == "no server answers at localhost:1: Connection refused"


def test_where_no_server_answers_health_says_so_and_that_it_may_pass() -> None:
    done = CliRunner().invoke(main, ["health", "--server", "localhost:1", "--json"])
    assert (done.exit_code, done.stderr) == (4, "")
    assert json.loads(done.stdout)["serving"] is False
