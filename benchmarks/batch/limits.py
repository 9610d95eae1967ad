"""What a batch cannot be faster than: decoding, and running the network, each with all cores to itself."""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from strata_server.artifact import read_artifact
from strata_server.deadline import Deadline
from strata_server.images import Preprocessing, preprocess_images

from benchmarks.serving import open_session

_DECODED_AT_ONCE = 64
_RUN_AT_ONCE = (32, 64, 128)


def measure_decoding(pictures: Sequence[Path], artifact: Path) -> float:
    """Return pictures per second that the server's own decoder makes arrays of, a process on each core."""
    rule = read_artifact(artifact).preprocessing
    assert rule
    cores = len(os.sched_getaffinity(0))
    shares = [[path.read_bytes() for path in pictures[core::cores]] for core in range(cores)]
    with ProcessPoolExecutor(cores) as processes:
        list(processes.map(_decode, [share[:64] for share in shares], [rule] * cores))  # they have started
        return _rate(len(pictures), lambda: list(processes.map(_decode, shares, [rule] * cores)))


def _decode(encoded: list[bytes], rule: Preprocessing) -> None:
    for start in range(0, len(encoded), _DECODED_AT_ONCE):
        preprocess_images(encoded[start : start + _DECODED_AT_ONCE], rule, 10**9, Deadline())


def measure_network(artifact: Path, layers: Sequence[str], rows: int) -> float:
    """Return rows per second of onnxruntime on a hand-cut file: the fastest way to spread them over the cores."""
    whole = onnx.load(artifact)
    cut = onnx.utils.Extractor(whole).extract_model([whole.graph.input[0].name], list(layers))
    data = cut.SerializeToString()
    cores = len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(cores) as processes:
        _run_apart(processes, data, 64, 64, cores)  # they have started
        apart = [
            _rate(rows, partial(_run_apart, processes, data, rows // cores, at_once, cores)) for at_once in _RUN_AT_ONCE
        ]
    return max(*apart, *(_run_together(data, rows, at_once, cores) for at_once in _RUN_AT_ONCE))


def _run_apart(processes: ProcessPoolExecutor, model: bytes, rows: int, at_once: int, cores: int) -> None:
    list(processes.map(_run, [model] * cores, [rows] * cores, [at_once] * cores))


@lru_cache
def _open(model: bytes) -> onnxruntime.InferenceSession:
    return open_session(model)


def _run(model: bytes, rows: int, at_once: int) -> None:
    _feed(_open(model), rows, at_once)


def _run_together(model: bytes, rows: int, at_once: int, threads: int) -> float:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    _feed(session, 4 * at_once, at_once)
    return _rate(rows, lambda: _feed(session, rows, at_once))


def _feed(session: onnxruntime.InferenceSession, rows: int, at_once: int) -> None:
    entry = session.get_inputs()[0]
    batch = np.random.default_rng(0).random((at_once, *entry.shape[1:]), np.float32)
    for _ in range(max(1, rows // at_once)):
        session.run(None, {entry.name: batch})


def _rate(rows: int, work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return rows / (time.perf_counter() - start)
