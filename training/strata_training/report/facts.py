"""What the head of the page says of a run."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from strata_training.records import Figures, Plan, Record, Tuning
from strata_training.report.wording import shorten
from strata_training.runs import Run

_SKIPPED_SHOWN = 10


@dataclass(frozen=True)
class Fact:
    """A line of the head."""

    name: str
    text: str


def list_facts(run: Run) -> list[Fact]:
    """Return how a run came about."""
    record, reached = run.record, run.record.training
    facts = [
        Fact("Data", f"{reached.data}: {describe_parts(record)}"),
        Fact("Classes", describe_balance(reached.class_counts)),
        Fact("Digest of the data", f"SHA-256 {reached.data_digest}"),
        *(Fact("Left out", shorten(reason)) for reason in reached.skipped[:_SKIPPED_SHOWN]),
        Fact("Network", describe_network(record)),
        Fact("Training", describe_training(record.plan, reached)),
        Fact("Seed", str(record.plan.seed)),
        Fact("Versions", ", ".join(f"{name} {version}" for name, version in record.library_versions.items())),
    ]
    if len(reached.skipped) > _SKIPPED_SHOWN:
        facts.append(Fact("Left out in all", f"{len(reached.skipped):,} files that cannot be read"))
    return facts


def describe_parts(record: Record) -> str:
    """Return how many examples were used for what."""
    reached, shift = record.training, record.plan.shift
    moved = f" (each also moved by {shift} pixels in four directions)" if shift and record.preprocessing else ""
    return (
        f"{reached.training_rows:,} examples to learn from{moved}, {reached.validation_rows:,} to choose the epoch by, "
        f"{reached.test_rows:,} held out until the end"
    )


def describe_balance(counts: Mapping[str, int]) -> str:
    """Return how even the classes are."""
    most, least = max(counts, key=lambda name: counts[name]), min(counts, key=lambda name: counts[name])
    if counts[most] == counts[least]:
        return f"{len(counts)}, {counts[most]:,} examples of each"
    return f"{len(counts)}, from {counts[least]:,} examples ({shorten(least)}) to {counts[most]:,} ({shorten(most)})"


def describe_network(record: Record) -> str:
    """Return the network, and what was chosen of it."""
    plan = record.plan
    options = f" with {_list(plan.options)}" if plan.options else ""
    if plan.tuning is None:
        return f"{record.network}{options}"
    # Of a path its end alone: a report is handed on.
    origin = shorten(PurePath(plan.tuning.origin).name)
    return f"{record.network or 'a network'}{options}, fine-tuned from {origin}{_describe_freezing(plan.tuning)}"


def _describe_freezing(tuning: Tuning) -> str:
    frozen = [f"up to {tuning.freeze_until}"] * bool(tuning.freeze_until) + list(tuning.freeze)
    said = f"; frozen: {shorten(', '.join(frozen))}" if frozen else ""
    return (
        f"{said}; in a second stage the last {tuning.unfreeze_last} layers learn too" if tuning.unfreeze_last else said
    )


def describe_training(plan: Plan, reached: Figures) -> str:
    """Return how long it learned, and how."""
    changes = f", random changes: {', '.join(plan.augment)}" if plan.augment else ""
    return (
        f"{reached.epochs} epochs, the best was {reached.best_epoch}; batches of {plan.batch_size}, "
        f"Adam with a learning rate of {plan.learning_rate:g}{changes}"
    )


def is_no_better(reached: Figures) -> bool:
    """Say whether always the most frequent class would have been right as often."""
    return reached.test_accuracy <= max(reached.class_counts.values()) / sum(reached.class_counts.values())


def _list(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_show(value)}" for name, value in options.items())


def _show(value: Any) -> str:
    # A path to weights is shown without its folder, as the origin is.
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return shorten(PurePath(text).name or text)
