import json
from collections.abc import Callable

from click.testing import Result

Run = Callable[..., Result]


def test_a_healthy_server_is_said_to_serve(strata: Run) -> None:
    assert strata("health").output == "serving\n"
    assert json.loads(strata("health", "--model", "tiny", "--json").output) == {"serving": True}
