import json
from collections.abc import Callable

import pytest
from click.testing import Result

Run = Callable[..., Result]


@pytest.mark.parametrize("arguments", [["tiny:1"], ["--model", "tiny:1"], ["tiny:1", "--model", "tiny:1"]])
def test_layers_are_a_table_with_a_total(strata: Run, arguments: list[str]) -> None:
    lines = strata("layers", *arguments).output.splitlines()
    assert lines[0] == "tiny version 1: 5 layers of float32, 3 classes, trained on shapes, 50.0% right when tested"
    assert lines[2] == "image        InputLayer  4x4x1           0              0  input"
    assert lines[-1].split() == ["total", "48", "48"]


def test_layers_for_machines_are_all_that_is_known(strata: Run) -> None:
    document = json.loads(strata("layers", "--json").output)
    assert (document["name"], document["version"], document["inputs"]) == ("tiny", "12", ["image"])
    assert document["layers"][3]["dtype"] == "float32"
    assert document["preprocessing"]["color"] == "grayscale"


def test_two_models_at_once_are_a_usage_error(strata: Run) -> None:
    done = strata("layers", "tiny:1", "--model", "tiny:12")
    assert (done.exit_code, done.stdout) == (2, "")
