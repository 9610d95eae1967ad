"""What a person reads when a command has done its work."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text
from strata.v1 import catalog_pb2, manifest_pb2

from strata_training.parity import BATCH_SIZES, holds
from strata_training.runs import Run


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
    shown = ", each in five places" if plan.shift_pixels else ""
    table = _make_table(f"Run {run.name}", header=False)
    table.add_row("data", f"{plan.data}: {reached.training_rows:,} learned from{shown}")
    table.add_row("", f"{reached.validation_rows:,} to choose the epoch, {reached.test_rows:,} held out")
    table.add_row("network", f"{plan.network}, seed {plan.seed}")
    table.add_row("epochs", f"{reached.epochs} of at most {plan.epochs}; the best was {reached.best_epoch}")
    table.add_row("test accuracy", f"{reached.test_accuracy:.4f}")
    table.add_row("test loss", f"{reached.test_loss:.4f}")
    table.add_row("folder", str(run.folder))
    return table


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
