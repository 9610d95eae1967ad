"""A model that takes its time."""

from pathlib import Path

from artifacts import slow_model, tiny_manifest, write_artifact


def slow_repository(folder: Path, rounds: int) -> Path:
    manifest = tiny_manifest()
    image, predictions = manifest["layers"][0], manifest["layers"][-1]
    manifest["layers"] = [image, {**predictions, "shape": image["shape"]}]
    manifest["classes"] = []
    write_artifact(folder / "models", "slow", model=slow_model(rounds=rounds), manifest=manifest)
    return folder / "models"
