"""A small run made by hand, whose every name is hostile, and a reader of the page about it."""

import csv
from dataclasses import asdict, dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import keras
import numpy as np
from strata_training import runs
from strata_training.data import DataSet
from strata_training.evaluation import Evaluation
from strata_training.fit import write_samples
from strata_training.history import Epoch
from strata_training.preprocessing import Preprocessing
from strata_training.records import Figures, Plan, Record, Tuning

RUN = "<img src=x onerror=alert(1)> $x_"
CLASSES = (
    "<script>alert(1)</script>",
    '" onmouseover="alert(1)',
    r"$\frac{$",
    "_" + "long" * 60,
    "a\x1b[31m\nb",
    "half\udc80",
    "\u202eright to left",
    "猫",
    "{{ 7 * 7 }}",
    "javascript:alert(1)",
)
_ROWS = 60


def write_run(name: str = RUN, classes: tuple[str, ...] = CLASSES, model: keras.Model | None = None) -> Path:
    """Write a finished run of an untrained network on small pictures in color, and return its folder."""
    folder = runs.RUNS / name
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (_ROWS, 8, 8, 3), np.uint8)
    labels = np.arange(_ROWS) % len(classes)
    preprocessing = Preprocessing("image", "COLOR_BGR")
    model = model or make_network(len(classes))
    model.save(folder / runs.MODEL)
    scores = random.dirichlet(np.ones(len(classes)), _ROWS).astype(np.float32)
    wrong = np.flatnonzero(scores.argmax(axis=1) != labels)[:24]
    Evaluation(labels, scores, wrong, pictures[wrong]).write(folder / runs.HELD_OUT)
    dataset = DataSet("<b>data</b>", pictures, labels, classes)
    write_samples(folder / runs.SAMPLES, dataset, np.arange(_ROWS), preprocessing)
    _write_history(folder / runs.HISTORY)
    record = _make_record(dataset, scores, preprocessing)
    (folder / runs.RECORD).write_text(record.to_json(), encoding="utf-8")
    return folder


def make_network(classes: int) -> keras.Model:
    """Return an untrained network with layers of many kinds."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 3), name="image"),
            layers.Conv2D(6, 3, name="conv"),
            layers.BatchNormalization(name="norm"),
            layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise"),
            layers.SeparableConv2D(5, 3, padding="same", depth_multiplier=3, name="separable"),
            layers.MaxPooling2D(name="pool"),
            layers.Flatten(name="flatten"),
            layers.Dense(classes, activation="softmax", name="predictions"),
        ]
    )


def make_recurrent() -> keras.Model:
    """Return an untrained network of which one layer has several outputs, so that it cannot be exported."""
    image = keras.Input((8, 8, 3), name="image")
    rows = keras.layers.Reshape((8, 16), name="rows")(keras.layers.Conv2D(2, 3, padding="same", name="conv")(image))
    last, _, _ = keras.layers.LSTM(4, return_state=True, name="memory")(rows)
    return keras.Model(image, keras.layers.Dense(2, activation="softmax", name="predictions")(last))


def _write_history(path: Path) -> None:
    epochs = [Epoch(n, 1 if n < 4 else 2, 0.001, 0.1 * n, 3 / n, 0.09 * n, 3.3 / n) for n in range(1, 7)]
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.DictWriter(file, asdict(epochs[0]))
        rows.writeheader()
        rows.writerows(map(asdict, epochs))


def _make_record(dataset: DataSet, scores: np.ndarray, preprocessing: Preprocessing) -> Record:
    figures = Figures(
        data=dataset.name,
        data_digest=dataset.digest,
        epochs=6,
        best_epoch=5,
        class_counts=dataset.class_counts,
        skipped=("<svg onload=alert(1)>.png: cannot identify image file",),
        training_rows=40,
        validation_rows=10,
        test_rows=len(dataset.labels),
        test_accuracy=float((scores.argmax(axis=1) == dataset.labels).mean()),
        test_loss=2.5,
    )
    plan = Plan(data="../<i>folder</i>", tuning=Tuning(origin="secret/place/<u>base.keras"), augment=("flip",))
    return Record(plan, "", figures, dataset.classes, preprocessing, {"<tt>": "1&2"})


@dataclass
class Page(HTMLParser):
    """What a browser finds in a page."""

    text: str = ""
    elements: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    policy: str = ""
    style: str = ""
    _inside: str = ""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text, self.elements, self.policy, self.style, self._inside = "", [], "", "", ""
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self._inside = tag

    def handle_data(self, data: str) -> None:
        if self._inside == "style":
            self.style += data
            self._inside = ""
        else:
            self.text += data

    def attributes(self, name: str) -> list[str]:
        """Return the values of an attribute, wherever it stands."""
        return [attributes[name] for _, attributes in self.elements if name in attributes]
