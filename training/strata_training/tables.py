"""What a person reads when a command has done its work."""

from collections.abc import Mapping, Sequence

from rich.markup import escape
from rich.table import Table
from rich.text import Text
from strata.v1 import catalog_pb2, manifest_pb2

from strata_training.parity import BATCH_SIZES, holds
from strata_training.records import Figures, Plan
from strata_training.runs import Run

_SKIPPED_SHOWN = 10


def make_parity_table(layers: Sequence[catalog_pb2.Layer], parity: Sequence[manifest_pb2.LayerParity]) -> Table:
    """Return a row for each layer but the inputs."""
    table = _make_table(f"Parity with Keras, batches of {' and '.join(map(str, BATCH_SIZES))}")
    for name in ("layer", "kind", "shape"):
        table.add_column(name, overflow="fold")
    for name in ("parameters", "multiply-\nadds", "largest\ndifference", "tolerance"):
        # On a narrow terminal names are broken, numbers never.
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("ok", no_wrap=True)
    described = {layer.name: layer for layer in layers}
    for row in parity:
        table.add_row(*_parity_cells(described[row.layer], row))
    return table


def make_run_table(run: Run) -> Table:
    """Return what a run did and reached."""
    plan, reached = run.record.plan, run.record.training
    shown = ", each in five places" if plan.shift else ""
    table = _make_table(f"Run {run.name}", header=False)
    table.add_row("data", f"{escape(reached.data)}: {reached.training_rows:,} learned from{shown}")
    table.add_row("", f"{reached.validation_rows:,} to choose the epoch, {reached.test_rows:,} held out")
    table.add_row("classes", escape(_describe_balance(reached.class_counts)))
    if reached.skipped:
        table.add_row("skipped", f"{len(reached.skipped):,} file{'s' if len(reached.skipped) > 1 else ''}")
        for reason in reached.skipped[:_SKIPPED_SHOWN]:
            table.add_row("", escape(reason))
    table.add_row("network", f"{run.record.network or escape(_origin(plan))}, seed {plan.seed}")
    table.add_row("epochs", f"{reached.epochs} of at most {_most_epochs(plan)}; the best was {reached.best_epoch}")
    table.add_row("test accuracy", f"{reached.test_accuracy:.4f}{_judge(reached)}")
    table.add_row("test loss", f"{reached.test_loss:.4f}")
    table.add_row("folder", str(run.folder))
    return table


def _describe_balance(counts: Mapping[str, int]) -> str:
    most, least = max(counts, key=lambda name: counts[name]), min(counts, key=lambda name: counts[name])
    if counts[most] == counts[least]:
        return f"{len(counts)}, {counts[most]:,} examples of each"
    return f"{len(counts)}, from {counts[least]:,} examples ({least}) to {counts[most]:,} ({most})"


def _judge(reached: Figures) -> str:
    """Say so where the network is no better than one that has learned nothing."""
    largest = max(reached.class_counts.values()) / sum(reached.class_counts.values())
    return ", no better than always the most frequent class" if reached.test_accuracy <= largest else ""


def _most_epochs(plan: Plan) -> int:
    if plan.tuning and plan.tuning.unfreeze_last:
        return plan.epochs + (plan.tuning.unfreeze_epochs or plan.epochs)
    return plan.epochs


def _origin(plan: Plan) -> str:
    return plan.tuning.origin if plan.tuning else plan.network


def _make_table(title: str, *, header: bool = True) -> Table:
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        show_header=header,
        pad_edge=False,
        collapse_padding=header,
    )


def _parity_cells(layer: catalog_pb2.Layer, parity: manifest_pb2.LayerParity) -> list[Text]:
    ok = holds(parity)
    cells = [
        layer.name,
        layer.kind,
        "x".join(map(str, layer.shape[1:])),
        f"{layer.parameters:,}",
        f"{layer.multiply_adds:,}",
        f"{parity.largest_difference:.1e}",
        f"{parity.tolerance:.1e}",
    ]
    return [*map(Text, cells), Text("yes" if ok else "NO", style="green" if ok else "bold red")]
