"""Say how far the statistics of a layer have moved between two sets of pictures.

python drift.py pictures/monday pictures/wednesday --layer pool2 --plot drift.png

It prints the channels that moved most, and the drift: the root mean square of (after - before) / deviation.
"""

import argparse
import os
from pathlib import Path

import numpy as np
import strata_client

STATISTICS = ("mean", "deviation", "smallest", "largest", "zeros")


def plot(moved: np.typing.NDArray[np.float64], title: str, file: Path) -> None:
    """Draw a square for each statistic of each channel."""
    import matplotlib.pyplot as plt  # noqa: PLC0415 - a second that only a picture is worth

    figure, axes = plt.subplots(figsize=(9, 2.6), layout="constrained")
    image = axes.imshow(moved, cmap="RdBu_r", vmin=-2, vmax=2, aspect="auto")
    axes.set(title=title, xlabel="channels, most moved first", xticks=[], yticks=range(5), yticklabels=STATISTICS)
    figure.colorbar(image, label="standardized difference", extend="both")
    figure.savefig(file, dpi=120)


def main() -> None:
    """Say how far the statistics of a layer of maps have moved."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folders", type=Path, nargs=2, help="of PNG files: before and after")
    parser.add_argument("--server", default=os.environ.get("STRATA_SERVER", "localhost:8001"), metavar="HOST:PORT")
    parser.add_argument("--layer", default="pool2", help="one of maps")
    parser.add_argument("--limit", type=float, default=0.2, help="exit with 3 past it; 0.2 is small (J. Cohen, 1988)")
    parser.add_argument("--plot", type=Path, metavar="FILE")
    asked = parser.parse_args()
    sets = [sorted(folder.glob("*.png")) for folder in asked.folders]
    if not all(sets):
        parser.error(f"{asked.folders[sets.index([])]}: expected a folder with PNG files; received none")
    with strata_client.Client(asked.server) as client:
        found = client.activations([*sets[0], *sets[1]], [asked.layer], reduce="statistics")[asked.layer]
    before, after = np.split(found.astype(float), [len(sets[0])])  # of shape (pictures, 5, channels)
    deviation = np.sqrt((before.var(axis=0) + after.var(axis=0)) / 2)
    moved = (after.mean(axis=0) - before.mean(axis=0)) / np.maximum(deviation, 1e-9)
    order, drift = np.argsort(-np.abs(moved).max(axis=0)), float(np.sqrt((moved**2).mean()))
    print("channel " + "".join(f"{name:>10}" for name in STATISTICS))
    for channel in order[:5]:
        print(f"{channel:<8}" + "".join(f"{value:>+10.2f}" for value in moved[:, channel]))
    print(f"drift of {asked.layer}: {drift:.2f}, {'within' if drift <= asked.limit else 'past'} {asked.limit}")
    if asked.plot:
        plot(moved[:, order], f"drift of {asked.layer}: {drift:.2f}", asked.plot)
    raise SystemExit(0 if drift <= asked.limit else 3)


if __name__ == "__main__":
    try:
        main()
    except (strata_client.StrataError, OSError) as error:
        raise SystemExit(str(error)) from error
