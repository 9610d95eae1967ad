"""The command strata-train."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich import filesize

from strata_training import runs
from strata_training.config import unflatten
from strata_training.errors import Stopped, TrainingError
from strata_training.flags import (
    DATA_FLAGS,
    NETWORK_FLAGS,
    RUN_FLAGS,
    TRAINING_FLAGS,
    TUNING_FLAGS,
    gather,
    gather_again,
)
from strata_training.noise import muted
from strata_training.terminal import show, waiting

# TensorFlow takes seconds to import, so each command imports what it needs, and --help nothing.

_INTERRUPTED = 130  # as a shell has it: 128 and the number of the signal


class _Commands(click.Group):
    """Commands whose foreseen failures are one line and exit status 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Stopped as error:
            click.echo(f"\nstrata-train: {error}", err=True)
            sys.exit(_INTERRUPTED)
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


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="strata-training", prog_name="strata-train")
def main() -> None:
    """Train Keras CNNs and export them to ONNX with every layer addressable.

    \b
    strata-train fit --data digits --network cnn --run digits
    strata-train export --from digits --model digits --models models
    strata-train verify models/digits/1/model.onnx --against digits
    """  # noqa: D301 - click wants the character itself


@main.command()
@RUN_FLAGS
@DATA_FLAGS
@NETWORK_FLAGS
@TRAINING_FLAGS
@click.pass_context
def fit(ctx: click.Context, /, run: str, *, resume: bool, config: Path | None, **given: Any) -> None:
    """Train a network and keep the best weights.

    A fifth of the data is held out until the end. The run, runs/NAME, holds the model, its figures, the history of
    the epochs, and what goes on after a kill.
    """
    _train(ctx, run, config, given, ("data", "network"), resume=resume)


@main.command()
@RUN_FLAGS
@TUNING_FLAGS
@DATA_FLAGS
@TRAINING_FLAGS
@click.pass_context
def finetune(ctx: click.Context, /, run: str, *, resume: bool, config: Path | None, **given: Any) -> None:
    """Train a new head on a trained network, and some of its layers again.

    Without other flags only the new last layer learns. With --freeze-until or --freeze all layers learn but those.
    With --unfreeze-last the head learns first, then at a lower rate the layers before it as well. Batch
    normalization that does not learn works as in inference.
    """
    _train(ctx, run, config, given, ("from", "data"), resume=resume)


def _train(
    ctx: click.Context,
    run: str,
    config: Path | None,
    given: Mapping[str, Any],
    required: Sequence[str],
    *,
    resume: bool,
) -> None:
    if resume and config:
        raise click.UsageError("--resume takes the run's own config: leave --config out", ctx)
    values = gather_again(ctx, given, runs.find_config(run)) if resume else gather(ctx, given, config, required)
    with _importing():
        from strata_training import fit, tables

    done = fit.fit(unflatten(values), run, resume=resume, report=click.echo)
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


@main.command()
@click.option("--run", required=True, metavar="NAME", help="The run's name.")
def report(run: str) -> None:
    """Write a page about a run, to look at in a browser.

    One file that loads nothing: curves, confusion matrix, worst mistakes, filters, feature maps, every layer with its
    formulas, and parity. The pictures lie beside it as PNG files. An older report is replaced.
    """
    with _importing():
        from strata_training.report import write_report

    with waiting("drawing"):
        written = write_report(run)
    size = filesize.decimal(written.page.stat().st_size)
    click.echo(f"{written.page}: {size}, and {written.pictures} pictures beside it")
    click.echo(f"\nNext: strata-train export --from {run} --model {run} --models models")
