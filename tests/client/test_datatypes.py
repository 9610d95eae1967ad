"""Strings and bfloat16, as the client and the command meet them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from processes import ServerProcess
from strata_client import Client, InvalidArgument, archives
from strata_client.cli import main
from typed_models import BFLOAT16, SUFFIX, VALUES, brains_answer

TEXT = np.array([["a", "b"], ["\u00e9", ""]])
X = np.array([[1.5, 2.25, -4]], np.float32)


@pytest.fixture
def client(typed: ServerProcess) -> Iterator[Client]:
    with Client(typed.grpc) as client:
        yield client


def run(server: ServerProcess, *arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments), "--server", server.grpc])


def test_every_type_goes_and_comes(client: Client) -> None:
    for name, value in VALUES.items():
        found = client.activations({name: value}, [f"{name}_out"], model="echoes")[f"{name}_out"]
        assert found.tolist() == value.astype(np.float32 if value.dtype == BFLOAT16 else value.dtype).tolist()


def test_the_catalog_says_what_arrives_and_what_it_is(client: Client) -> None:
    layers = {layer.name: layer for layer in client.layers("words")} | {
        layer.name: layer for layer in client.layers("brains")
    }
    assert {name: (layers[name].dtype.name, layers[name].data_type) for name in ("text", "inner", "wide")} == {
        "text": ("object", "string"),
        "inner": ("float32", "bfloat16"),
        "wide": ("float32", "float32"),
    }


def test_what_arrives_may_enter_again(client: Client) -> None:
    wanted = brains_answer(X.astype(BFLOAT16))
    seen = client.activations(X, ["inner", "y"], model="brains")
    again = client.activations({"inner": seen["inner"]}, ["y"], model="brains")
    for value in (seen["y"], again["y"]):
        np.testing.assert_array_equal(value, wanted["y"].astype(np.float32))
    joined = client.activations({"text": TEXT}, ["joined"], model="words")["joined"]
    assert joined.tolist() == [[text + SUFFIX for text in row] for row in TEXT.tolist()]
    number = client.activations({"joined": joined}, ["number"], model="words")["number"]
    assert number.tolist() == [[1, -1], [2, -1]]


def test_what_bfloat16_does_not_hold_is_refused(client: Client) -> None:
    with pytest.raises(InvalidArgument, match="each of which bfloat16 holds"):
        client.predict(np.full((1, 3), 0.1, np.float32), model="brains", top=0)


def test_text_differs_or_not(client: Client, typed: ServerProcess, tmp_path: Path) -> None:
    codes = np.array([[1, 2]])
    assert client.diff("words", "words", {"text": TEXT, "code": codes.repeat(2, 0)}).agree
    path = tmp_path / "in.npz"
    np.savez(path, text=TEXT, code=codes.repeat(2, 0))
    assert run(typed, "diff", "words", "words", path).exit_code == 0


def test_the_command_lists_shows_and_saves_text(typed: ServerProcess, tmp_path: Path) -> None:
    path, saved = tmp_path / "in.npz", tmp_path / "out.npz"
    np.savez(path, text=TEXT)
    asked: list[Any] = ["activations", path, "--model", "words", "--layers", "joined,number"]
    listed = run(typed, "layers", "words")
    assert "string" in listed.output
    shown = run(typed, *asked)
    assert (shown.exit_code, listed.exit_code) == (0, 0)
    assert [line.split()[0] for line in shown.output.splitlines()[2:]] == ["joined", "number"]
    assert "nan" not in shown.output
    document = json.loads(run(typed, *asked, "--json").output)
    assert [(layer["dtype"], layer["min"]) for layer in document["layers"]] == [("string", None), ("float32", -1)]
    assert run(typed, *asked, "--save", saved).exit_code == 0
    with np.load(saved, allow_pickle=False) as arrays:
        assert arrays["joined"].tolist() == [[text + SUFFIX for text in row] for row in TEXT.tolist()]
    only = tmp_path / "joined.npz"
    archives.save({"joined": np.load(saved)["joined"]}, only)
    assert run(typed, "activations", only, "--model", "words", "--layers", "number").exit_code == 0


def test_a_plot_of_text_is_refused(typed: ServerProcess, tmp_path: Path) -> None:
    path = tmp_path / "in.npz"
    np.savez(path, text=TEXT)
    asked = ["activations", path, "--model", "words", "--plot", tmp_path / "out.png", "--layers"]
    refused = run(typed, *asked, "joined")
    assert (refused.exit_code, refused.output) == (
        1,
        "strata: a plot can be drawn of numbers; layer 'joined' holds text\n",
    )
    assert run(typed, *asked, "number").exit_code == 0
