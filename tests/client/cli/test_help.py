import pytest
from click.testing import CliRunner
from strata_client.cli import main


@pytest.mark.parametrize("command", ["", "models", "layers", "predict", "activations", "diff", "health"])
def test_every_command_explains_itself(command: str) -> None:
    done = CliRunner().invoke(main, [*command.split(), "--help"])
    assert (done.exit_code, done.output.startswith("Usage: main")) == (0, True)
    if command:
        options = {"--server", "--timeout", "--json"} | ({"--model"} if command != "diff" else set())
        assert options <= set(done.output.split())
