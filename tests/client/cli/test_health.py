import json
from collections.abc import Callable

from click.testing import Result
from processes import ServerProcess

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
    assert unreachable.startswith("localhost:1: ")
