"""The scripts in client/examples do what their docstrings say; tests/docs compares what they print word for word."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest
from artifacts import write_artifact
from pages import ROOT, Shell
from PIL import Image

EXAMPLES = ROOT / "client" / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))

pytestmark = pytest.mark.usefixtures("pictures")


def command_of(script: str) -> str:
    """Return the command in a script's docstring, as one types it in the demo's folder."""
    docstring = ast.get_docstring(ast.parse((EXAMPLES / script).read_text())) or ""
    return docstring.splitlines()[2].replace("python ", "python ../client/examples/")


def colors(shell: Shell, picture: str) -> int:
    """Return how many colors a picture has: a page that was not drawn on has one."""
    return len(np.unique(np.asarray(Image.open(shell.folder / picture).convert("RGB")).reshape(-1, 3), axis=0))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_is_read_in_a_minute(script: Path) -> None:
    assert len(script.read_text().splitlines()) <= 60


def test_the_nearest_neighbors_of_a_seven_are_sevens(shell: Shell) -> None:
    lines = [line.split() for line in shell.run(command_of("neighbors.py")).splitlines()]
    distances = [float(distance) for distance, _ in lines]
    assert distances == sorted(distances)
    assert 0 < distances[0] < distances[-1] < 0.5
    files = [file for _, file in lines]
    assert "pictures/digits/7/000.png" not in files
    assert len(set(files)) == 8
    # The network misreads one digit in a hundred: one stranger among eight would be no fault of the script.
    assert sum(file.startswith("pictures/digits/7/") for file in files) >= 7
    assert colors(shell, "neighbors.png") > 16


def test_a_head_on_features_is_better_than_one_on_the_predictions(shell: Shell) -> None:
    first, *lines = shell.run(command_of("head.py")).splitlines()
    assert first == "500 pictures of 20 classes"
    found = [re.fullmatch(r"(\w+): ([\d,]+) numbers, ([\d.]+)% of the held-out pictures right", line) for line in lines]
    sizes = {match[1]: match[2] for match in found if match}
    assert sizes == {"image": "784", "pool2": "2,450", "dense1": "128", "predictions": "10"}
    right = {match[1]: float(match[3]) for match in found if match}
    # Chance is 5 %. Two figures of 125 pictures are apart by chance by 4 points, these by some 40.
    assert min(right["image"], right["pool2"], right["dense1"]) > 80
    assert right["predictions"] < right["dense1"] - 20
    assert colors(shell, "head.png") > 16


def test_pictures_of_the_same_kind_have_not_drifted(shell: Shell) -> None:
    printed = shell.run("python ../client/examples/drift.py pictures/monday pictures/tuesday")
    assert float(find_drift(printed)) < 0.2
    assert printed.endswith("within 0.2\n")


def test_pictures_with_less_light_have_drifted_and_are_an_exit_code(shell: Shell) -> None:
    *table, drift, exit_code = shell.run(f'{command_of("drift.py")} || echo "exit code $?"').splitlines()
    assert exit_code == "exit code 3"
    assert drift.endswith("past 0.2")
    assert float(find_drift(drift)) > 0.5
    means = [float(line.split()[1]) for line in table[1:]]
    assert len(means) == 5
    # With less light every channel that answers to light answers less.
    assert max(means) < 0
    assert colors(shell, "drift.png") > 16


def find_drift(printed: str) -> str:
    found = re.search(r"^drift of pool2: (\S+), ", printed, flags=re.MULTILINE)
    assert found, printed
    return found[1]


@pytest.mark.parametrize(
    ("command", "folder"),
    [
        ("drift.py pictures/monday nothing", "nothing"),
        ("drift.py pictures/digits pictures/monday", "pictures/digits"),
        ("neighbors.py pictures/digits/7/000.png nothing", "nothing"),
        ("head.py pictures/monday", "pictures/monday"),
        ("split.py nothing", "nothing"),
    ],
)
def test_a_folder_without_pictures_is_wrong_usage(shell: Shell, command: str, folder: str) -> None:
    printed = shell.run(f'python ../client/examples/{command} 2>&1 || echo "exit code $?"').splitlines()
    assert f"error: {folder}: expected" in printed[-2]
    assert printed[-1] == "exit code 2"


@pytest.mark.parametrize(
    "command",
    [
        "drift.py pictures/monday pictures/tuesday --layer pool",
        "neighbors.py pictures/digits/7/000.png pictures/digits --layer pool",
        "split.py pictures/monday --layer pool --a localhost:8001 --b localhost:8001",
    ],
)
def test_what_the_server_refuses_is_one_line_and_not_the_exit_code_of_drift(shell: Shell, command: str) -> None:
    printed = shell.run(f'python ../client/examples/{command} 2>&1 || echo "exit code $?"').splitlines()
    assert printed == ["model digits: unknown layer 'pool'; nearest: 'pool2', 'pool1'", "exit code 1"]


@pytest.mark.parametrize(
    ("flags", "activation", "apart"),
    [
        # Two sessions may fuse what one does not: the last bits of a float32.
        ("--layer pool2", "9,800 bytes each, pool2 as float32", 1e-6),
        # float16 keeps 11 bits: activations move by half a thousandth of themselves.
        ("--layer dense1 --half", "256 bytes each, dense1 as float16", 1e-3),
    ],
)
def test_a_split_network_answers_as_the_whole_one(shell: Shell, flags: str, activation: str, apart: float) -> None:
    shell.run("strata-server --models models --grpc-port 8021 --http-port 8020")
    assert "split.py pictures/monday --layer pool2 --a localhost:8001 --b localhost:8021" in command_of("split.py")
    printed = shell.run(command_of("split.py").replace("--layer pool2", flags))
    found = dict(re.findall(r"^(\w+): +(.*)$", printed, flags=re.MULTILINE))
    assert found["activation"] == activation
    assert found["labels"] == "200 of 200 are those of the whole network"
    assert float(found["scores"].split()[2]) <= apart


def test_a_network_is_not_split_between_two_artifacts(shell: Shell) -> None:
    write_artifact(shell.folder / "other", name="digits")
    shell.run("strata-server --models other --grpc-port 8022 --http-port 8023")
    command = command_of("split.py").replace("localhost:8021", "localhost:8022")
    assert "expected the same artifact of digits:1 on A and B" in shell.run(f"{command} 2>&1 || true")
