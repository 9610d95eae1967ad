"""The command strata-train."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich import filesize

from strata_training.errors import TrainingError
from strata_training.noise import muted
from strata_training.records import Plan
from strata_training.terminal import is_terminal, show, waiting

# TensorFlow takes seconds to import, so each command imports what it needs, and --help nothing.

_Decorator = Callable[[Callable[..., None]], Callable[..., None]]


class _Commands(click.Group):
    """Commands whose foreseen failures are one line and exit status 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except TrainingError as error:
            message = str(error)
        except OSError as error:
            # A full disk, a folder that may not be written: the system's word for it says enough.
            message = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        click.echo(f"strata-train: {message}", err=True)
        sys.exit(1)


@contextmanager
def _importing() -> Iterator[None]:
    with waiting("loading TensorFlow"), muted():
        yield


def _planned(flag: str, kind: click.IntRange | click.FloatRange, text: str) -> _Decorator:
    """Declare a flag that sets a field of the plan, whose default it shows."""
    default = getattr(Plan, flag.removeprefix("--").replace("-", "_"))
    return click.option(flag, default=default, show_default=True, type=kind, metavar="N", help=text)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="strata-training", prog_name="strata-train")
def main() -> None:
    r"""Train Keras CNNs and export them to ONNX with every layer addressable.

    \b
    strata-train fit --data digits --network cnn --run digits
    strata-train export --from digits --model digits --models models
    strata-train verify models/digits/1/model.onnx --against digits
    """


@main.command()
@click.option("--data", required=True, metavar="NAME", help="What to learn from: digits.")
@click.option("--network", required=True, metavar="NAME", help="What learns: cnn.")
@click.option("--run", required=True, metavar="NAME", help="The run's name; it is written to runs/NAME.")
@click.option("--overwrite", is_flag=True, help="Replace a run of that name.")
@_planned(
    "--seed",
    click.IntRange(0, 2**32 - 1),
    "Fixes the split, the first weights and the order: the same weights again on as many CPUs.",
)
@_planned("--epochs", click.IntRange(min=1), "The most epochs that are run.")
@_planned("--patience", click.IntRange(min=1), "Stop after this many epochs without a lower validation loss.")
@_planned("--batch-size", click.IntRange(min=1), "Pictures in one step.")
@_planned("--learning-rate", click.FloatRange(min=0, min_open=True), "Adam's step size.")
@_planned(
    "--shift-pixels",
    click.IntRange(min=0),
    "Also learn from each picture moved by this in four directions; 0 for not.",
)
def fit(run: str, *, overwrite: bool, **plan: Any) -> None:
    """Train a network and keep the best weights.

    A fifth of the data is held out until the end. The run holds the model, its figures, the history of the
    epochs, and one held-out picture of each class.
    """
    with _importing():
        from strata_training import fit, tables

    report = None if is_terminal() else click.echo
    done = fit.fit(Plan(**plan), run, overwrite=overwrite, report=report)
    click.echo()
    show(tables.make_run_table(done))
    click.echo(f"\nNext: strata-train export --from {run} --model {run} --models models")


@main.command()
@click.option("--from", "origin", required=True, metavar="RUN-or-FILE", help="A run's name or a .keras file.")
@click.option("--model", required=True, metavar="NAME", help="The model's name in the repository.")
@click.option(
    "--models",
    required=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="The model repository; the artifact is DIR/NAME/VERSION/model.onnx.",
)
@click.option(
    "--version",
    metavar="N",
    type=click.IntRange(1, 10**17),
    show_default="the highest there is, plus 1",
    help="A version that exists is never changed.",
)
def export(origin: str, model: str, models: Path, version: int | None) -> None:
    """Write an ONNX file that keeps every layer.

    Each layer is addressable by its Keras name, and each is compared with Keras. An export that is not
    near enough fails and leaves nothing behind.
    """
    with _importing():
        from strata_training import artifacts, export, sources, tables

    folder = artifacts.choose_version(models, model, version)
    source = sources.open_source(origin)
    with waiting("converting and comparing"):
        candidate = export.convert_source(source)
    show(tables.make_parity_table(candidate.comparison.layers, candidate.comparison.parity))
    path = export.publish(candidate, folder)
    click.echo(f"\n{path}: {filesize.decimal(path.stat().st_size)}")
    click.echo(f"\nNext: strata-server --models {models}")


@main.command()
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("--against", required=True, metavar="RUN-or-FILE", help="A run's name or a .keras file.")
def verify(artifact: Path, against: str) -> None:
    """Compare every layer of an ONNX file with Keras.

    Fails when a layer is missing or differs by more than is allowed.
    """
    with _importing():
        from strata_training import export, parity, sources, tables

    source = sources.open_source(against)
    with waiting("comparing"):
        comparison = export.verify(artifact, source)
    show(tables.make_parity_table(comparison.layers, comparison.parity))
    parity.require(comparison.parity)
    click.echo(f"\n{artifact} computes what {against} computes.")
