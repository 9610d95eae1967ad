"""Find the pictures that look most like one, to the network: nearest neighbors by the features of a layer.

python neighbors.py pictures/digits/7/000.png pictures/digits --layer dense1 --plot neighbors.png

It prints the nearest files with their cosine distances, from 0 (the same direction) to 2, and draws them.
"""

import argparse
import os
from pathlib import Path

import numpy as np
import strata_client


def plot(query: Path, nearest: list[tuple[float, Path]], file: Path) -> None:
    """Draw the query, and to the right of it what was found, nearest first."""
    import matplotlib.pyplot as plt  # noqa: PLC0415 - a second that only a picture is worth

    drawn = [("query", query), *((f"{distance:.3f}", picture) for distance, picture in nearest)]
    figure, axes = plt.subplots(1, len(drawn), figsize=(1.3 * len(drawn), 1.9), layout="constrained")
    for place, (title, picture) in zip(axes, drawn, strict=True):
        place.imshow(plt.imread(picture), cmap="gray")
        place.set(title=title, xlabel=f"{picture.parent.name}/{picture.name}", xticks=[], yticks=[])
    figure.savefig(file, dpi=120)


def main() -> None:
    """Find the pictures that look most like one, to the network."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("query", type=Path, help="a picture")
    parser.add_argument("folder", type=Path, help="PNG files, in folders of any depth")
    parser.add_argument("--server", default=os.environ.get("STRATA_SERVER", "localhost:8001"), metavar="HOST:PORT")
    parser.add_argument("--model", default="", metavar="NAME[:VERSION]")
    parser.add_argument("--layer", default="dense1", help="whose activations are the features")
    parser.add_argument("--reduce", default="none", help="such as mean, for a layer of maps")
    parser.add_argument("--count", type=int, default=8, help="how many neighbors")
    parser.add_argument("--plot", type=Path, metavar="FILE")
    asked = parser.parse_args()
    others = [file for file in sorted(asked.folder.rglob("*.png")) if not file.samefile(asked.query)]
    if not others:
        parser.error(f"{asked.folder}: expected a folder with other PNG files; received none")
    with strata_client.Client(asked.server) as client:
        found = client.activations([asked.query, *others], [asked.layer], model=asked.model, reduce=asked.reduce)
    features = found[asked.layer].reshape(1 + len(others), -1).astype(float)
    features /= np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-9)
    distances = 1 - features[1:] @ features[0]
    nearest = [(float(distances[row]), others[row]) for row in np.argsort(distances)[: asked.count]]
    for distance, file in nearest:
        print(f"{distance:.3f}  {file}")
    if asked.plot:
        plot(asked.query, nearest, asked.plot)


if __name__ == "__main__":
    try:
        main()
    except (strata_client.StrataError, OSError) as error:
        raise SystemExit(str(error)) from error
