"""The networks that are measured, made once by the commands that a user types, and kept in benchmarks/networks/."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "networks"


@dataclass(frozen=True)
class Exports:
    """One Keras model, exported twice."""

    name: str
    artifact: Path
    """With every layer addressable, by `strata-train export`."""
    prediction: Path
    """With its prediction as the only output, by tf2onnx alone: what one would serve elsewhere."""


def export_networks() -> dict[str, Exports]:
    """Return the digits CNN and ResNet50; made here where they are not there yet, in about two minutes."""
    return {name: _export(name, source) for name, source in {"digits": _digits(), "resnet50": _resnet50()}.items()}


def export_run(name: str) -> Path:
    """Return the artifact of the digits run under a name: with its classes, and taking pictures."""
    _digits()
    artifact = FOLDER / "exports" / name / "1" / "model.onnx"
    if not artifact.exists():
        _train("export", "--from", "digits", "--model", name, "--models", "exports")
    return artifact


def _digits() -> Path:
    run = FOLDER / "runs" / "digits"
    if not run.exists():
        _train("fit", "--data", "digits", "--network", "cnn", "--run", "digits")
    return run / "model.keras"


def _resnet50() -> Path:
    path = FOLDER / "resnet50.keras"
    if not path.exists():
        program = (
            "import keras; keras.utils.set_random_seed(0); "
            f"keras.applications.ResNet50(weights=None).save({str(path)!r})"
        )
        FOLDER.mkdir(exist_ok=True)
        subprocess.run([sys.executable, "-c", program], check=True, stderr=subprocess.DEVNULL)
    return path


def _export(name: str, source: Path) -> Exports:
    artifact = FOLDER / "models" / name / "1" / "model.onnx"
    if not artifact.exists():
        _train("export", "--from", str(source), "--model", name, "--models", "models")
    prediction = FOLDER / f"{name}-prediction.onnx"
    if not prediction.exists():
        program = [sys.executable, "-m", "benchmarks.plain_export", str(source), str(prediction)]
        subprocess.run(program, check=True, stderr=subprocess.DEVNULL)
    return Exports(name, artifact, prediction)


def _train(*arguments: str) -> None:
    FOLDER.mkdir(exist_ok=True)
    command = Path(sys.executable).parent / "strata-train"
    subprocess.run([command, *arguments], cwd=FOLDER, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
