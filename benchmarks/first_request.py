"""What the first request for a slice waits for: with nothing cached, with an empty cache, and from the cache."""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.networks import Exports
from benchmarks.serving import serve
from benchmarks.tables import show as show_table

_REPEATS = 7
_EXITS = ("conv1_relu", "conv3_block4_out", "conv4_block6_out", "avg_pool")


def show(network: Exports) -> None:
    """Print the time of the first request for some slices, and of one that finds its session."""
    rows: list[tuple[str, float, float, float, float, float]] = []
    for layer in _EXITS:
        times: dict[str, list[float]] = {"none": [], "empty": [], "filled": [], "later": []}
        for _ in range(_REPEATS):
            with tempfile.TemporaryDirectory() as folder:
                cache = Path(folder) / "cache"
                for name, kept in (("none", None), ("empty", cache), ("filled", cache)):
                    first, later = _ask_twice(network, layer, kept)
                    times[name].append(first)
                    times["later"].append(later)
        none, empty, filled, later = (statistics.median(times[name]) for name in ("none", "empty", "filled", "later"))
        rows.append((layer, none, empty, filled, later, (filled - later) / (none - later)))
    show_table(
        "ResNet50, first request for a new slice, one image, ms",
        ("exit", "no cache", "cache empty", "cached", "later requests", "making: cached / no cache"),
        rows,
    )


def _ask_twice(network: Exports, layer: str, cache: Path | None) -> tuple[float, float]:
    """Return how long the first and the second request take, in milliseconds, in a server that has started anew."""
    version, ask = serve(network.artifact, cache=cache)
    image = np.random.default_rng(0).random((1, 224, 224, 3), np.float32)
    times = []
    for _ in range(2):
        start = time.perf_counter()
        ask({version.catalog.inputs[0].name: image}, [layer])
        times.append((time.perf_counter() - start) * 1000)
    return times[0], times[1]
