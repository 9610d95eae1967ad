"""What a frozen base knows, fetched from the server as activations, trains a head for other classes."""

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import strata_client
from processes import serving
from sklearn.linear_model import LogisticRegression
from strata_training import data, export, fit
from strata_training.artifacts import choose_version
from strata_training.data import Wanted
from strata_training.records import Plan, Tuning
from strata_training.sources import open_source

pytestmark = pytest.mark.filterwarnings(
    # Keras's variables do not know the keyword that numpy 2 hands to __array__.
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)
LOW, HIGH = tuple("01234"), tuple("56789")
SAMPLES = 10


def silent(_: str) -> None:
    """Take an epoch's line and show nothing."""


def test_a_head_on_served_features_is_as_good_as_fine_tuning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fit.fit(Plan("digits", "cnn", classes=LOW, epochs=6, shift_pixels=0), "base", report=silent)
    export.publish(export.convert_source(open_source("base")), choose_version(Path("models"), "base"))
    few = Plan("digits", classes=HIGH, samples_per_class=SAMPLES, epochs=40, batch_size=16, shift_pixels=0)
    # Dropout before the head is the only other thing between these features and the new classes.
    tuned = fit.fit(dataclasses.replace(few, tuning=Tuning("base"), learning_rate=0.01), "tuned", report=silent)

    digits = data.load("digits", Wanted(classes=HIGH))
    parts = data.split(digits, seed=0, samples_per_class=SAMPLES)
    with serving(Path("models")) as server, strata_client.Client(server.grpc) as client:

        def fetch(rows: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
            images = digits.inputs[rows].astype(np.float32) / np.float32(255)
            return np.asarray(client.activations({"image": images}, ["dense1"])["dense1"])

        head = LogisticRegression(max_iter=1000).fit(fetch(parts.training), digits.labels[parts.training])
        reached = head.score(fetch(parts.test), digits.labels[parts.test])
    assert len(parts.training) == SAMPLES * len(HIGH)
    assert reached >= tuned.record.training.test_accuracy
    assert reached > 0.6  # a fifth would be chance
