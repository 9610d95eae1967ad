"""What every test of the training may use: one short run of the digits CNN, and its export."""

import contextlib
from pathlib import Path

import keras
import onnx
import pytest
from click.testing import CliRunner, Result
from strata_training import export, fit
from strata_training.artifacts import choose_version
from strata_training.cli import main
from strata_training.records import Plan
from strata_training.runs import Run
from strata_training.sources import open_source
from training.workplace import Invoke, Workplace

# Keras's and TensorFlow's own, each named by its words; any other warning is an error, as everywhere.
KNOWN_WARNINGS = [
    # Keras's variables do not know the keyword that numpy 2 hands to __array__.
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning",
]

# One epoch without the moved pictures: these tests are about what is written, not about how good it is.
SHORT = Plan(data="digits", network="cnn", epochs=1, shift_pixels=0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            for known in KNOWN_WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(known))


@pytest.fixture(scope="session")
def short_plan() -> Plan:
    return SHORT


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """Fit and export once; tests read it and leave it as it is."""
    folder = tmp_path_factory.mktemp("finished")
    lines: list[str] = []
    with contextlib.chdir(folder):
        run = fit.fit(SHORT, "digits", report=lines.append)
        candidate = export.convert_source(open_source("digits"))
        artifact = export.publish(candidate, choose_version(Path("models"), "digits"))
    return Workplace(folder, Run(folder / run.folder, run.record), folder / artifact, lines)


@pytest.fixture
def workplace(finished: Workplace, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    """Work in the folder of the finished run."""
    monkeypatch.chdir(finished.folder)
    return finished


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def strata_train() -> Invoke:
    """Return what runs the command in this process."""

    def invoke(*arguments: object) -> Result:
        # An exception that is no foreseen failure shall show itself, as a defect does.
        return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)

    return invoke


@pytest.fixture
def model(finished: Workplace) -> onnx.ModelProto:
    """Return the exported graph."""
    return onnx.load(finished.artifact)


@pytest.fixture
def small_model() -> keras.Model:
    """Return an untrained model of another kind than the CNN: two ways from one input, and two outputs."""
    keras.utils.set_random_seed(1)
    layers = keras.layers
    image = keras.Input((8, 8, 3), name="image")
    left = layers.SeparableConv2D(4, 3, name="separable")(layers.Rescaling(2.0, name="rescaling")(image))
    left = layers.DepthwiseConv2D(3, name="depthwise")(left)
    left = layers.GlobalAveragePooling2D(name="average")(layers.BatchNormalization(name="norm")(left))
    right = layers.Flatten(name="flatten")(layers.Conv2D(6, 3, strides=2, name="strided")(image))
    scores = layers.Dense(5, name="scores")(layers.Concatenate(name="both")([left, right]))
    return keras.Model(image, [scores, left])
