import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

Run = Callable[..., Result]


def test_versions_that_agree_have_exit_code_0(strata: Run, picture: Path, arrays: Path) -> None:
    for source in (picture, arrays, picture.parent):
        done = strata("diff", "tiny:1", "tiny:12", source)
        assert done.exit_code == 0
        assert done.output.splitlines()[0].startswith("tiny:1 and tiny:12: ")
        assert (
            done.output.splitlines()[-1] == "all within the tolerance, 0.001 of a layer's largest magnitude: 5 layers"
        )


def test_differences_for_machines_are_those_of_the_layers_asked(strata: Run, picture: Path) -> None:
    done = strata(
        "diff", "tiny:1", "tiny", picture, picture, "--layers", "scores,double", "--tolerance", "0.5", "--json"
    )
    document = json.loads(done.output)
    assert (document["a"], document["b"], document["rows"], document["tolerance"]) == ("tiny:1", "tiny:12", 2, 0.5)
    assert (document["agree"], document["first_past"]) == (True, None)
    assert [(layer["name"], layer["largest"], layer["relative"]) for layer in document["layers"]] == [
        ("double", 0, 0),
        ("scores", 0, 0),
    ]
