"""Train a new head on a network that is served: a linear classifier of what one of its layers makes of pictures.

python head.py pictures/letters --layers image,pool2,dense1,predictions --plot head.png

It prints how many held-out pictures, a quarter, the head of each layer gets right. It needs scikit-learn.
"""

import argparse
import os
from pathlib import Path

import numpy as np
import strata_client
from sklearn import linear_model, model_selection, pipeline, preprocessing


def try_head(features: np.typing.NDArray[np.float32], labels: list[str]) -> float:
    """Return the share of held-out pictures that a head learned from the others gets right."""
    known, others, answers, wanted = model_selection.train_test_split(features, labels, stratify=labels, random_state=0)
    head = pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression(max_iter=1000))
    return float(head.fit(known, answers).score(others, wanted))


def plot(right: dict[str, float], file: Path) -> None:
    """Draw a bar for each layer."""
    import matplotlib.pyplot as plt  # noqa: PLC0415 - a second that only a picture is worth

    figure, axes = plt.subplots(figsize=(6, 0.6 + 0.45 * len(right)), layout="constrained")
    axes.bar_label(axes.barh(list(right), list(right.values()), color="#2a788e"), fmt=" {:.1%}")
    axes.set(xlim=(0, 1.12), xticks=[], ylim=(len(right) - 0.5, -0.5), title="held-out pictures that a head gets right")
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    figure.savefig(file, dpi=120)


def main() -> None:
    """Train a new head on each of some layers of a served network."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path, help="PNG files, a folder for each class")
    parser.add_argument("--server", default=os.environ.get("STRATA_SERVER", "localhost:8001"), metavar="HOST:PORT")
    parser.add_argument("--layers", default="dense1", metavar="A,B", help="a head is trained on each of them")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw how many are right")
    asked = parser.parse_args()
    files = sorted(asked.folder.glob("*/*.png")) or parser.error(f"{asked.folder}: expected folders with PNG files")
    labels = [file.parent.name for file in files]
    with strata_client.Client(asked.server) as client:
        found = client.activations(files, asked.layers.split(","))
    print(f"{len(files)} pictures of {len(set(labels))} classes")
    right = {layer: try_head(np.reshape(values, (len(files), -1)), labels) for layer, values in found.items()}
    for layer, share in right.items():
        print(f"{layer}: {found[layer][0].size:,} numbers, {share:.1%} of the held-out pictures right")
    if asked.plot:
        plot(right, asked.plot)


if __name__ == "__main__":
    try:
        main()
    except (strata_client.StrataError, OSError) as error:
        raise SystemExit(str(error)) from error
