"""What a slice costs: each layer of a network, against running the whole graph as other servers do.

    make demo && make bench

In process, without gRPC, one thread, one core, medians of rounds in which all take turns.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.timing import median_us, pin_to_one_core

pin_to_one_core()  # before onnxruntime counts the cores

from strata_server.artifact import Artifact, read_artifact  # noqa: E402 - after the pinning
from strata_server.sessions import Sessions  # noqa: E402 - as above
from strata_server.slicing import Slice, Slicer  # noqa: E402 - as above

WHOLE = "(whole graph)"


def main(argv: list[str] | None = None) -> int:
    """Print for each layer its slice's time, and how many times cheaper than the whole graph it is."""
    parser = argparse.ArgumentParser(description="Measure what each slice costs.")
    parser.add_argument("--artifact", type=Path, default=Path("demo/models/digits/1/model.onnx"))
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 32], help="batch sizes")
    options = parser.parse_args(argv)
    if not options.artifact.is_file():
        print(f"benchmarks.slices: no artifact at {options.artifact}; run `make demo` first", file=sys.stderr)
        return 2
    artifact = read_artifact(options.artifact)
    for rows in options.rows:
        times = median_us(make_candidates(artifact, rows))
        print(f"\nrows {rows:<5} {'slice to':>18} {'µs':>10} {'cheaper':>9}")
        for name, microseconds in times.items():
            print(f"{name:>29} {microseconds:10.1f} {times[WHOLE] / microseconds:8.1f}x")
    return 0


def make_candidates(artifact: Artifact, rows: int) -> dict[str, Callable[[], object]]:
    """Return a run of the slice to each layer, and of the whole graph with every layer as an output.

    The whole graph is asked for its first layer alone: onnxruntime runs all of it nevertheless.
    """
    catalog = artifact.manifest.catalog
    entries = [layer.name for layer in catalog.inputs]
    layers = [layer.name for layer in catalog.layers if layer.name not in entries]
    sessions = Sessions(Slicer(artifact.model).cut, threads=1, most=len(layers) + 1)
    generator = np.random.default_rng(0)
    feed = {layer.name: generator.random((rows, *layer.shape[1:]), np.float32) for layer in catalog.inputs}
    whole = sessions.get(Slice.between(entries, layers))
    slices = {name: sessions.get(Slice.between(entries, [name])) for name in layers}
    return {
        WHOLE: partial(whole.run, layers[:1], feed),
        **{name: partial(session.run, [name], feed) for name, session in slices.items()},
    }


if __name__ == "__main__":
    sys.exit(main())
