"""A base that knows some digits helps to learn others from few examples."""

import dataclasses

import pytest
from strata_training import fit
from strata_training.records import Plan, Tuning

LOW, HIGH = tuple("01234"), tuple("56789")
SEEDS = range(5)


def silent(_: str) -> None:
    """Take an epoch's line and show nothing."""


@pytest.mark.full_size
@pytest.mark.usefixtures("empty_folder")
def test_a_tuned_base_beats_the_same_network_from_nothing_over_five_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    reached = []
    for seed in SEEDS:
        fit.fit(Plan("digits", "cnn", classes=LOW, seed=seed), f"base-{seed}", report=silent)
        few = Plan("digits", "cnn", classes=HIGH, samples_per_class=10, seed=seed)
        few = dataclasses.replace(few, epochs=40, patience=8, batch_size=16, shift_pixels=0)
        tuning = Tuning(f"base-{seed}", freeze_until="pool1")
        tuned = fit.fit(dataclasses.replace(few, network="", tuning=tuning), f"tuned-{seed}", report=silent)
        fresh = fit.fit(few, f"fresh-{seed}", report=silent)
        assert tuned.record.training.training_rows == fresh.record.training.training_rows == 50
        assert tuned.record.training.data_digest == fresh.record.training.data_digest
        reached.append((tuned.record.training.test_accuracy, fresh.record.training.test_accuracy))
    with capsys.disabled():  # docs/figures.md has them
        print()
        for seed, pair in zip(SEEDS, reached, strict=True):
            print(f"seed {seed}: tuned {pair[0]:.4f}, from nothing {pair[1]:.4f}")
    tuned_mean, fresh_mean = (sum(accuracies) / len(SEEDS) for accuracies in zip(*reached, strict=True))
    assert tuned_mean > fresh_mean
