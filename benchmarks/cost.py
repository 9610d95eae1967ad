"""What a slice costs by how deep it leaves: the picture that explains the product."""

from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.networks import Exports
from benchmarks.serving import open_session, open_version
from benchmarks.timing import median_us

_WHOLE = "(whole graph)"
_ROUNDS = 5


def show(network: Exports, target: Path) -> None:
    """Measure the slice to each layer, and the whole graph as other servers run it; draw them."""
    version = open_version(network.artifact, budget_bytes=2**40)
    entry = version.catalog.inputs[0]
    image = {entry.name: np.random.default_rng(0).random((1, 224, 224, 3), np.float32)}
    layers = [layer.name for layer in version.catalog.layers if layer is not entry]
    whole = open_session(network.artifact)
    times = median_us({_WHOLE: partial(whole.run, layers[:1], image)}, rounds=_ROUNDS)
    for layer in layers:
        # One at a time: all sessions at once would take gigabytes.
        session = version.make(version.find([entry.name], [layer]))
        times |= median_us({layer: partial(session.run, [layer], image)}, rounds=_ROUNDS)
    _draw([times[layer] / 1000 for layer in layers], layers, times[_WHOLE] / 1000, target)
    print(f"drawn: {target.name}\n")


def _draw(milliseconds: list[float], layers: list[str], whole: float, target: Path) -> None:
    figure = Figure(figsize=(10, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.axhline(whole, color="#c44e52", linewidth=1.5)
    axes.annotate(
        f"the whole graph, whatever is asked: {whole:.0f} ms",
        (0, whole),
        xytext=(4, 5),
        textcoords="offset points",
        color="#c44e52",
    )
    axes.fill_between(range(len(layers)), milliseconds, color="#4c72b0", alpha=0.2)
    axes.plot(milliseconds, color="#4c72b0", linewidth=1.5)
    for name in ("conv1_relu", "conv2_block3_out", "conv3_block4_out", "conv4_block6_out", "predictions"):
        place = layers.index(name)
        axes.plot(place, milliseconds[place], "o", color="#4c72b0")
        axes.annotate(
            f"{name}\n{milliseconds[place]:.1f} ms, {whole / milliseconds[place]:.1f}x less",
            (place, milliseconds[place]),
            # Below the line on the right, where there is room; above it where the line begins.
            xytext=(6, -48 if place == len(layers) - 1 else -30) if place > len(layers) / 8 else (-6, 26),
            textcoords="offset points",
            ha="right" if name == layers[-1] else "left",
            fontsize=9,
        )
    axes.set(
        xlabel="where the request leaves: layers in order",
        ylabel="time of the slice, ms",
        xlim=(0, len(layers)),
        ylim=(0, whole * 1.15),
        title="ResNet50, one image, one thread: a request pays for the way to its layer",
    )
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(target, dpi=110)
