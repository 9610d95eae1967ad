import json
from collections.abc import Callable

from click.testing import Result

Run = Callable[..., Result]


def test_models_are_a_table(strata: Run) -> None:
    done = strata("models")
    assert done.output == (
        "model  version  layers  parameters  multiply-adds  classes\n"
        "tiny         1       5          48             48        3\n"
        "tiny        12       5          48             48        3\n"
    )


def test_models_can_be_picked(strata: Run) -> None:
    found = json.loads(strata("models", "--model", "tiny:12", "--json").output)["models"]
    assert [(model["name"], model["version"]) for model in found] == [("tiny", "12")]


def test_a_model_that_is_not_there_is_no_empty_table(strata: Run) -> None:
    done = strata("models", "--model", "tiny:2")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "2" in done.stderr
