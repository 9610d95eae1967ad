"""The server's own parts, put together in this process as `strata-server` puts them, for one artifact."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import onnxruntime
from strata_server.artifact import read_artifact
from strata_server.deadline import Deadline
from strata_server.engine import Answer, Engine
from strata_server.repository import Repository
from strata_server.runtime import Runtime, choose_device
from strata_server.sessions import Sessions
from strata_server.settings import MIB, DeviceSettings, Limits
from strata_server.slice_cache import SliceCache
from strata_server.tensors import Array
from strata_server.version import Version

Ask = Callable[[Mapping[str, Array], Sequence[str]], Answer]
"""Computes the activations of layers from what enters, as a request does."""


def open_version(artifact: Path, *, budget_bytes: int = 1024 * MIB, cache: Path | None = None) -> Version:
    """Return an artifact, ready for slices on one thread; its prediction is not warmed."""
    runtime = Runtime(choose_device(DeviceSettings(device="cpu")), threads=1)
    kept = SliceCache(cache, 4096 * MIB) if cache else None
    return Version("measured", 1, read_artifact(artifact), runtime, Sessions(budget_bytes), kept)


def serve(artifact: Path, *, budget_bytes: int = 1024 * MIB, cache: Path | None = None) -> tuple[Version, Ask]:
    """Return an artifact with its prediction warmed, and the engine's way to ask it, without gRPC."""
    version = open_version(artifact, budget_bytes=budget_bytes, cache=cache)
    version.warm()
    engine = Engine(Repository([version]), Limits())

    def ask(inputs: Mapping[str, Array], layers: Sequence[str]) -> Answer:
        return engine.activations(version, inputs, layers, deadline=Deadline()).run()

    return version, ask


def open_session(model: Path | bytes) -> onnxruntime.InferenceSession:
    """Return a session as one makes it without this project, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
