"""Tables for people: they fit a terminal, and are plain columns of any width everywhere else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from strata_client.activity import Array, measure
from strata_client.catalog import Description, Layer, Model
from strata_client.errors import MissingExtra
from strata_client.formats import format_score, format_shape
from strata_client.names import escape
from strata_client.predictions import Label, Prediction

try:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text
except ModuleNotFoundError as error:
    raise MissingExtra("cli", "rich") from error

_BAR_LENGTH = 20
_EIGHTHS = " ▏▎▍▌▋▊▉"
_UNLIMITED = 100_000  # columns: what reads a pipe wraps lines itself, or wants them whole


@dataclass(frozen=True)
class Screen:
    """Where tables go."""

    console: Console

    @property
    def is_plain(self) -> bool:
        """Whether it is no terminal, and gets neither colors nor anything but letters."""
        return not self.console.is_terminal

    @property
    def has_blocks(self) -> bool:
        """Whether bars may be drawn with block characters."""
        return not self.is_plain and not self.console.options.ascii_only

    def show(self, table: Table) -> None:
        """Print a table."""
        if not self.is_plain:
            self.console.print(table)
            return
        with self.console.capture() as capture:
            self.console.print(table)
        for line in capture.get().splitlines():
            self.say(line.rstrip())

    def say(self, line: str) -> None:
        """Print one line."""
        self.console.print(Text(line), soft_wrap=True)

    def table(self) -> Table:
        """Return an empty table."""
        if self.is_plain:
            return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        return Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))


def open_screen() -> Screen:
    """Return standard output; names are shown as they are, never as markup."""
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console = Console(markup=False, emoji=False, highlight=False, color_system=None, width=_UNLIMITED)
    return Screen(console)


def show_models(screen: Screen, models: Sequence[Model]) -> None:
    """Show the models that are served."""
    table = screen.table()
    _add_columns(table, "model", "version>", "layers>", "parameters>", "multiply-adds>", "classes>")
    for model in models:
        figures = (model.layer_count, model.parameters, model.multiply_adds, model.class_count)
        table.add_row(_text(model.name), _text(model.version), *(f"{figure:,}" for figure in figures))
    screen.show(table)


def show_layers(screen: Screen, description: Description) -> None:
    """Show the catalog of a model, with totals."""
    screen.say(_headline(description))
    table = screen.table()
    _add_columns(table, "layer", "kind", "shape>", "parameters>", "multiply-adds>", "role")
    usual = _usual_dtype(description)
    for layer in description.layers:
        table.add_row(
            _text(layer.name, "bold"),
            _text(layer.kind),
            _text(_describe_value(layer, usual)),
            f"{layer.parameters:,}",
            f"{layer.multiply_adds:,}",
            _role(layer, description),
        )
    if not screen.is_plain:
        table.add_section()
    parameters = sum(layer.parameters for layer in description.layers)
    multiply_adds = sum(layer.multiply_adds for layer in description.layers)
    table.add_row("total", "", "", f"{parameters:,}", f"{multiply_adds:,}", "", style="bold")
    screen.show(table)


def show_predictions(screen: Screen, predictions: Sequence[tuple[str, Prediction]]) -> None:
    """Show the answer for each file: the best label, its score and a bar for it, and the runners-up."""
    table = screen.table()
    _add_columns(table, "file", "label", "score>", "", "runners-up")
    for file, prediction in predictions:
        best, *others = prediction.labels
        table.add_row(
            _text(file),
            _text(best.name, "bold"),
            format_score(best.score),
            Text(_bar(screen, best.score), "green"),
            _text(", ".join(_runners_up(others)), "dim"),
        )
    screen.show(table)


def show_activations(screen: Screen, description: Description, activations: Mapping[str, Array]) -> None:
    """Show the figures of each layer that was asked."""
    screen.say(f"{escape(description.name)} version {description.version}")
    activities = {name: measure(values) for name, values in activations.items()}
    table = screen.table()
    odd = any(activity.odd for activity in activities.values())
    _add_columns(table, "layer", "shape>", "min>", "mean>", "max>", "zeros>", "channels>", "dead>")
    if odd:
        _add_columns(table, "odd values")
    for name, activity in activities.items():
        table.add_row(
            _text(name, "bold"),
            format_shape(activations[name].shape),
            *(f"{figure:.4g}" for figure in (activity.smallest, activity.mean, activity.largest)),
            f"{activity.zero_share:.1%}",
            f"{activity.channel_count:,}",
            f"{activity.dead_count:,}",
            *([Text(activity.odd, "red")] if odd else []),
        )
    screen.show(table)


def _add_columns(table: Table, *columns: str) -> None:
    """Add columns; a name that ends in `>` is one of numbers, which stand at the right."""
    for column in columns:
        number = column.endswith(">")
        # Where a terminal is narrow, names take more lines rather than numbers.
        table.add_column(
            column.removesuffix(">"), justify="right" if number else "left", no_wrap=number, overflow="fold"
        )


def _text(text: str, style: str = "") -> Text:
    return Text(escape(text), style)


def _headline(description: Description) -> str:
    name = f"{escape(description.name)} version {description.version}"
    parts = [f"{name}: {len(description.layers):,} layers of {_usual_dtype(description)}"]
    if description.classes:
        parts.append(f"{len(description.classes):,} classes")
    if description.training:
        training = description.training
        parts.append(f"trained on {escape(training.data)}, {training.test_accuracy:.1%} right when tested")
    return ", ".join(parts)


def _usual_dtype(description: Description) -> str:
    return Counter(layer.dtype.name for layer in description.layers).most_common(1)[0][0]


def _describe_value(layer: Layer, usual: str) -> str:
    """Return the shape; the type as well where it is not the usual one, which the headline names."""
    shape = format_shape(layer.shape)
    return shape if layer.dtype.name == usual else f"{layer.dtype.name} {shape}"


def _role(layer: Layer, description: Description) -> str:
    if layer.name in description.inputs:
        return "input"
    return "prediction" if layer.default_exit else ""


def _runners_up(labels: Sequence[Label]) -> list[str]:
    """Return the labels that a reader could have expected as well, which are not those of nearly no score."""
    scores = [(label.name, format_score(label.score)) for label in labels]
    return [f"{name} {score}" for name, score in scores if not score.startswith("<")]


def _bar(screen: Screen, score: float) -> str:
    """Return a bar for a probability, and none for any other score."""
    if not 0 <= score <= 1:
        return ""
    if not screen.has_blocks:
        return "#" * round(score * _BAR_LENGTH)
    full, eighths = divmod(round(score * _BAR_LENGTH * 8), 8)
    return "█" * full + _EIGHTHS[eighths].strip()
