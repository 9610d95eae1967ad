"""What slices cost: every figure of them in one run, one thread, one core, medians of turns.

    make bench

makes the networks on the first run, in about two minutes, prints tables in Markdown, and draws docs/cost.png.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from benchmarks.timing import median_us, pin_to_one_core

pin_to_one_core()  # before onnxruntime counts the cores

import onnxruntime  # noqa: E402 - after the pinning

from benchmarks import cost, first_request, memory  # noqa: E402 - as above
from benchmarks.networks import Exports, export_networks  # noqa: E402 - as above
from benchmarks.serving import open_session, open_version, serve  # noqa: E402 - as above
from benchmarks.tables import show  # noqa: E402 - as above

Floats = npt.NDArray[np.float32]
_PLOT = Path(__file__).parents[1] / "docs" / "cost.png"


def main(argv: list[str] | None = None) -> int:
    """Print the tables, and draw the plot."""
    parser = argparse.ArgumentParser(description="Measure what slices cost.")
    parser.add_argument("--plot", type=Path, default=_PLOT, help="where the plot goes")
    options = parser.parse_args(argv)
    networks = export_networks()
    show_predictions(networks)
    show_exits(networks)
    show_whole_graph(networks["resnet50"])
    first_request.show(networks["resnet50"])
    memory.show(networks["resnet50"])
    cost.show(networks["resnet50"], options.plot)
    return 0


def show_predictions(networks: dict[str, Exports]) -> None:
    """Compare a prediction of the all-layers artifact with one of a prediction-only export, in process."""
    rows = []
    for name, batch in (("digits", 1), ("digits", 8), ("digits", 32), ("resnet50", 1)):
        version = open_version(networks[name].artifact)
        images = draw_images(version.catalog.inputs[0].shape, batch)
        (exit_,) = version.catalog.default_exits
        part = version.find([version.catalog.inputs[0].name], [exit_.name])
        ours = partial(version.make(part).run, [exit_.name], {version.catalog.inputs[0].name: images})
        plain = open_session(networks[name].prediction)
        theirs = partial(plain.run, None, {plain.get_inputs()[0].name: images})
        times = median_us({"artifact": ours, "export": theirs})
        rows.append((name, batch, times["export"], times["artifact"], times["artifact"] / times["export"]))
    show(
        "Prediction: the slice of the all-layers artifact, and a prediction-only export",
        ("network", "batch", "export, µs", "slice, µs", "ratio"),
        rows,
    )


def show_exits(networks: dict[str, Exports]) -> None:
    """Compare the engine, without gRPC, with onnxruntime on a hand-cut file."""
    exits = {
        "digits": ("conv1", "pool2", "predictions"),
        "resnet50": ("conv1_relu", "conv3_block4_out", "predictions"),
    }
    rows = []
    for name, layers in exits.items():
        version, ask = serve(networks[name].artifact)
        entry = version.catalog.inputs[0]
        images = draw_images(entry.shape, 1)
        for layer in layers:
            session = extract(networks[name].artifact, entry.name, [layer])
            times = median_us(
                {
                    "engine": partial(ask, {entry.name: images}, [layer]),
                    "by hand": partial(session.run, [layer], {entry.name: images}),
                }
            )
            over = times["engine"] - times["by hand"]
            rows.append((name, layer, times["by hand"], times["engine"], times["engine"] / times["by hand"], over))
    show(
        "One exit: the engine, and onnxruntime on a hand-cut file",
        ("network", "exit", "hand-cut, µs", "engine, µs", "ratio", "more, µs"),
        rows,
    )


def show_whole_graph(network: Exports, layer: str = "conv1_relu") -> None:
    """Compare an early exit with what other servers run for it."""
    version, ask = serve(network.artifact)
    entry = version.catalog.inputs[0].name
    images = draw_images(version.catalog.inputs[0].shape, 1)
    every = open_session(network.artifact)
    both = extract(network.artifact, entry, [layer, version.catalog.default_exits[0].name])
    candidates: dict[str, Callable[[], object]] = {
        "the slice, through the engine": partial(ask, {entry: images}, [layer]),
        "the prediction graph with that output added": partial(both.run, [layer], {entry: images}),
        "the whole graph with every layer an output": partial(every.run, [layer], {entry: images}),
    }
    times = median_us(candidates)
    best = times["the slice, through the engine"]
    rows = [(name, time, time / best) for name, time in times.items()]
    show(f"ResNet50, `{layer}` of one image", ("run", "µs", "times the slice"), rows)


def extract(artifact: Path, entry: str, layers: list[str]) -> onnxruntime.InferenceSession:
    """Return a session for a sub-graph that onnx's own tool has cut."""
    model = onnx.utils.Extractor(onnx.load(artifact)).extract_model([entry], layers)
    return open_session(model.SerializeToString())


def draw_images(shape: tuple[int, ...] | None, rows: int) -> Floats:
    """Return random images for an input."""
    return np.random.default_rng(0).random((rows, *(shape or ())[1:]), np.float32)


if __name__ == "__main__":
    sys.exit(main())
