"""The libraries that a run or an artifact was made with."""

from importlib.metadata import version

_TRAINING = ("keras", "numpy", "scikit-learn", "strata-training", "tensorflow")
_EXPORT = ("keras", "numpy", "onnx", "onnxruntime", "strata-training", "tensorflow", "tf2onnx")


def training_versions() -> dict[str, str]:
    """Return the versions of what trains, by distribution name."""
    return {name: version(name) for name in _TRAINING}


def export_versions() -> dict[str, str]:
    """Return the versions of what exports, by distribution name."""
    return {name: version(name) for name in _EXPORT}
