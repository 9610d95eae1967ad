"""Tables for people: they fit a terminal, and are plain columns of any width everywhere else."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from strata_client.activity import Activity, Array
from strata_client.catalog import Description, Layer, Model
from strata_client.differences import Differences
from strata_client.errors import MissingExtra
from strata_client.formats import format_number, format_score, format_shape, format_window
from strata_client.inspection import Inspection
from strata_client.names import escape
from strata_client.predictions import Label, Prediction
from strata_client.reductions import NONE
from strata_client.repository import RepositoryVersion

try:
    from rich import box
    from rich.cells import cell_len, chop_cells
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text
except ModuleNotFoundError as error:
    raise MissingExtra("cli", "rich") from error

_BAR_LENGTH = 20
_EIGHTHS = " ▏▎▍▌▋▊▉"
_GAP = 2  # between columns, as the tables of terminals have it
_FOLDED = 12  # letters of a name in one line: with fewer it is no longer read as one
_MOST_LARGEST = 5
_UNLIMITED = 100_000  # columns: what reads a pipe wraps lines itself, or wants them whole


_PIECE = re.compile(r"[^/_: -]*?(?:[/_: -]+|(?<=[a-z0-9])(?=[A-Z])|$)")  # of a name, as people read it


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the command what an output means that nobody reads."""
        raise BrokenPipeError


@dataclass(frozen=True)
class _Name:
    """A name in a table: where there is no room for it, its lines end where its words do."""

    text: str
    style: str = ""

    def __str__(self) -> str:
        return self.text

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        longest = cell_len(self.text)
        return Measurement(min(longest, _FOLDED), longest)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text("\n".join(_fold(self.text, options.max_width)), self.style)


_Cell: TypeAlias = _Name | Text | str


def _fold(name: str, width: int) -> list[str]:
    """Return a name in lines of at most `width` columns, with words in one piece where they fit."""
    lines = [""]
    for piece in _PIECE.findall(name):
        if cell_len(lines[-1] + piece) <= width:
            lines[-1] += piece
        elif cell_len(piece) <= width:
            lines.append(piece)
        else:
            lines[-1:] = chop_cells(lines[-1] + piece, width)
    return lines


@dataclass(frozen=True)
class Screen:
    """Where tables go."""

    console: Console

    @property
    def is_plain(self) -> bool:
        """Whether it is no terminal, and gets neither colors nor anything but letters."""
        return not self.console.is_terminal

    @property
    def width(self) -> int:
        """How many columns there are."""
        return self.console.width

    @property
    def has_blocks(self) -> bool:
        """Whether bars may be drawn with block characters."""
        return not self.is_plain and not self.console.options.ascii_only

    def show(self, table: Table) -> None:
        """Print a table; where a terminal is too narrow for it, its lines go on in the next: none is cut."""
        if not self.is_plain:
            width = self.console.width
            self.console.width = max(width, _narrowest(table))
            self.console.print(table, soft_wrap=True)
            self.console.width = width
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
    console = _Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console = _Console(markup=False, emoji=False, highlight=False, color_system=None, width=_UNLIMITED)
    return Screen(console)


def show_models(screen: Screen, models: Sequence[Model]) -> None:
    """Show the models that are served."""
    table = screen.table()
    _add_columns(table, "model", "version>", "layers>", "parameters>", "multiply-adds>", "classes>")
    for model in models:
        figures = (model.layer_count, model.parameters, model.multiply_adds, model.class_count)
        table.add_row(_name(model.name), _text(model.version), *(f"{figure:,}" for figure in figures))
    screen.show(table)


def show_repository(screen: Screen, versions: Sequence[RepositoryVersion]) -> None:
    """Show what lies in a model repository, served or not."""
    table = screen.table()
    _add_columns(table, "model", "version>", "state", "reason")
    for one in versions:
        style = "" if one.state == "ready" else "red"
        table.add_row(_name(one.name), escape(one.version), _text(one.state, style), _text(one.reason))
    screen.show(table)


def show_layers(screen: Screen, description: Description) -> None:
    """Show the catalog of a model, with totals."""
    screen.say(_headline(description))
    columns = _fit(screen, _list_layers(description))
    for name in ("multiply-\nadds>", "parameters>", "kind"):
        if _narrowest(_arrange_layers(screen, columns)) > screen.width:
            columns.pop(name, None)
    screen.show(_arrange_layers(screen, columns))


def _arrange_layers(screen: Screen, columns: Mapping[str, list[_Cell]]) -> Table:
    table = screen.table()
    _add_columns(table, *columns)
    *rows, total = zip(*columns.values(), strict=True)
    for row in rows:
        table.add_row(*row)
    if any(total[1:]):
        if not screen.is_plain:
            table.add_section()
        table.add_row(*total, style="bold")
    return table


def _list_layers(description: Description) -> dict[str, list[_Cell]]:
    """Return the columns of the catalog, each with a cell for every layer and one for all of them together."""
    layers, usual = description.layers, _usual_dtype(description)
    return {
        "layer": [*(_name(layer.name, "bold") for layer in layers), "total"],
        "kind": [*(_name(layer.kind) for layer in layers), ""],
        "shape>": [*(escape(_describe_value(layer, usual)) for layer in layers), ""],
        "parameters>": [f"{figure:,}" for figure in _add_sum([layer.parameters for layer in layers])],
        "multiply-adds>": [f"{figure:,}" for figure in _add_sum([layer.multiply_adds for layer in layers])],
        "sees>": [*(_window(layer) for layer in layers), ""],
        "role": [*(_role(layer, description) for layer in layers), ""],
    }


def _add_sum(figures: list[int]) -> list[int]:
    return [*figures, sum(figures)]


def _fit(screen: Screen, columns: Mapping[str, list[_Cell]]) -> dict[str, list[_Cell]]:
    """Return the columns for which there is room beside whole names: --json has the others too."""
    fitting = {name: cells for name, cells in columns.items() if any(map(str, cells)) or name == "role"}
    for name in ("sees>", "role"):
        if _sum_widths(fitting) > screen.width:
            fitting.pop(name, None)
    if _sum_widths(fitting) <= screen.width:
        return fitting
    return {name.replace("multiply-", "multiply-\n"): cells for name, cells in fitting.items()}


def _sum_widths(columns: Mapping[str, list[_Cell]]) -> int:
    return 1 + sum(
        _GAP + max(cell_len(str(cell)) for cell in (name.removesuffix(">"), *cells)) for name, cells in columns.items()
    )


def show_predictions(screen: Screen, predictions: Sequence[tuple[str, Sequence[Prediction]]]) -> None:
    """Show the answer for each row of each file: the best label, its score and a bar for it, and the runners-up."""
    rows = [(file, row, each) for file, found in predictions for row, each in enumerate(found)]
    columns: dict[str, list[_Cell]] = {
        "file": [_name(file) for file, _, _ in rows],
        "row>": [f"{row:,}" for _, row, _ in rows],
        "label": [_name(each.label, "bold") for _, _, each in rows],
        "score>": [format_score(each.score) for _, _, each in rows],
        "": ["#" * _BAR_LENGTH],
        "runners-up": [escape(", ".join(_runners_up(each.labels[1:]))) for _, _, each in rows],
    }
    if all(len(found) == 1 for _, found in predictions):
        del columns["row>"]  # a picture is one row; a file of arrays may have many
    # A shorter bar says the same.
    length = min(_BAR_LENGTH, max(_BAR_LENGTH // 4, _BAR_LENGTH - _sum_widths(columns) + screen.width))
    columns |= {"": [Text(_bar(screen, each.score, length), "green") for _, _, each in rows]}
    columns |= {"runners-up": [Text(str(cell), "dim") for cell in columns["runners-up"]]}
    table = screen.table()
    _add_columns(table, *columns)
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*cells)
    screen.show(table)


def show_activations(screen: Screen, inspected: Inspection) -> None:
    """Show the figures of each layer that was asked."""
    screen.say(f"{escape(inspected.description.name)} version {inspected.description.version}")
    columns = _list_activations(inspected)
    # Where the largest have no room in a column, each has a line of its own.
    largest = columns.pop("largest", []) if _sum_widths(columns) > screen.width else []
    table = screen.table()
    _add_columns(table, *columns)
    for row in zip(*columns.values(), strict=True):
        table.add_row(*row)
    screen.show(table)
    for name, text in zip(inspected.activations, largest, strict=False):
        if str(text):
            screen.say(f"{escape(name)}, largest: {text}")


def _list_activations(inspected: Inspection) -> dict[str, list[_Cell]]:
    """Return the columns of the table, each with a cell for every layer; what no layer has is left out."""
    activations = inspected.activations
    activities = {name: inspected.measure(name) for name in activations}
    # The largest at a place are of many channels: how many of those are dead is not known.
    whole = {name: activity for name, activity in activities.items() if name not in activations.channels}
    figures = [_figures(activations[name], activity) for name, activity in activities.items()]
    counts = [whole.get(name) for name in activations]
    columns: dict[str, list[_Cell]] = {
        "layer": [_name(name, "bold") for name in activations],
        "shape>": [format_shape(values.shape) for values in activations.values()],
        **{f"{title}>": [row[i] for row in figures] for i, title in enumerate(("min", "mean", "max", "zeros"))},
        "channels>": [f"{count.channel_count:,}" if count else "" for count in counts],
        "dead>": [f"{count.dead_count:,}" if count else "" for count in counts],
        "largest": [_text(_describe_largest(name, inspected)) for name in activations] if activations.channels else [],
        "odd values": [Text(activity.odd, "red") for activity in activities.values()],
    }
    return {title: cells for title, cells in columns.items() if title[-1] == ">" or any(map(str, cells))}


def _figures(values: Array, activity: Activity) -> list[str]:
    """Return the smallest value, the mean, the largest and the share of zeros; of text there are none."""
    if values.dtype.hasobject:
        return [""] * 4
    figures = (activity.smallest, activity.mean, activity.largest)
    return [*(f"{figure:.4g}" for figure in figures), f"{activity.zero_share:.1%}"]


def show_differences(screen: Screen, differences: Differences) -> None:
    """Show how far two versions are apart, layer by layer, and where they first are too far."""
    screen.say(f"{escape(differences.a)} and {escape(differences.b)}: {_count(differences.rows, 'row')}")
    table = screen.table()
    _add_columns(table, "layer", "kind", "largest>", "mean>", "relative>", "")
    first = differences.first_past
    for layer in differences.layers:
        figures = (layer.largest, layer.mean, layer.relative) if not layer.error else ()
        mark = "past" if layer.past else layer.error
        table.add_row(
            _name(layer.name, "bold"),
            _name(layer.kind),
            *([f"{figure:.3g}" for figure in figures] or [""] * 3),
            _text("<- first past" if layer is first else mark, "red" if layer.past else "dim"),
        )
    screen.show(table)
    for line in _conclude(differences):
        screen.say(line)


def _conclude(differences: Differences) -> list[str]:
    """Return what was left out, and in the last line the layer that is first past the tolerance."""
    notes = (
        (differences.only_a, f"only {differences.a} has"),
        (differences.only_b, f"only {differences.b} has"),
        (differences.reshaped, "have another shape in each:"),
        (differences.before_entry, "stand before the entry:"),
    )
    lines = [f"not compared, {why} {_quote_some(names)}" for names, why in notes if names]
    return [escape(line) for line in (*lines, _verdict(differences))]


def _verdict(differences: Differences) -> str:
    first, layers = differences.first_past, differences.layers
    limit = f"the tolerance, {differences.tolerance:g} of a layer's largest magnitude"
    failed = sum(bool(layer.error) for layer in layers)
    rest = f"; {_count(failed, 'layer')} could not be compared" if failed else ""
    if first is None:
        return f"all within {limit}: {_count(len(layers) - failed, 'layer')}{rest}"
    return f"first past {limit}: {first.name} ({first.kind}), {layers.index(first) + 1} of {len(layers)}{rest}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _quote_some(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return f"{_count(len(names), 'layer')}: {', '.join(names[:most])}{more}"


def _describe_largest(name: str, inspected: Inspection) -> str:
    """Return the classes of the first row, or the channels with what is known of each, those of the most places first.

    A vector has one place: its channels have a value. A map has many: they have a share of the places.
    """
    if inspected.reductions.get(name, NONE).top_labels and inspected.activations.predictions:
        labels = inspected.activations.predictions[0].labels
        return ", ".join(f"{label.name} {format_score(label.score)}" for label in labels[:_MOST_LARGEST])
    top = inspected.count_top(name)
    everywhere = all(one.share == 1 for one in top)
    return ", ".join(
        f"{one.channel} {format_number(one.mean) if everywhere else format(one.share, '.0%')}"
        for one in top[:_MOST_LARGEST]
    )


def _window(layer: Layer) -> str:
    """Return what of the input a place sees; that an input's sees itself goes without saying."""
    seen = layer.receptive_field if layer.depth else None
    return format_window(seen.size, seen.stride) if seen else ""


def _add_columns(table: Table, *columns: str) -> None:
    """Add columns; a name that ends in `>` is one of numbers, which stand at the right."""
    for column in columns:
        number = column.endswith(">")
        # Where a terminal is narrow, names take more lines rather than numbers.
        table.add_column(
            column.removesuffix(">"), justify="right" if number else "left", no_wrap=number, overflow="fold"
        )


def _narrowest(table: Table) -> int:
    """Return how many columns a table needs for its numbers as they are, and some letters of each name in a line."""
    for column in table.columns:
        cells = (*str(column.header).split("\n"), *map(str, column.cells))
        longest = max(map(cell_len, cells))
        column.min_width = longest if column.no_wrap else min(longest, _FOLDED)
    return sum((column.min_width or 0) + _GAP for column in table.columns) + 1


def _text(text: str, style: str = "") -> Text:
    return Text(escape(text), style)


def _name(text: str, style: str = "") -> _Name:
    return _Name(escape(text), style)


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
    return Counter(layer.type_name for layer in description.layers).most_common(1)[0][0]


def _describe_value(layer: Layer, usual: str) -> str:
    """Return the shape; the type as well where it is not the usual one, which the headline names."""
    shape = format_shape(layer.shape)
    return shape if layer.type_name == usual else f"{layer.type_name} {shape}"


def _role(layer: Layer, description: Description) -> str:
    if layer.name in description.inputs:
        return "input"
    return "prediction" if layer.default_exit else ""


def _runners_up(labels: Sequence[Label]) -> list[str]:
    """Return the labels that a reader could have expected as well, which are not those of nearly no score."""
    scores = [(label.name, format_score(label.score)) for label in labels]
    return [f"{name} {score}" for name, score in scores if not score.startswith("<")]


def _bar(screen: Screen, score: float, length: int) -> str:
    """Return a bar for a probability, and none for any other score."""
    if not 0 <= score <= 1:
        return ""
    if not screen.has_blocks:
        return "#" * round(score * length)
    full, eighths = divmod(round(score * length * 8), 8)
    return "█" * full + _EIGHTHS[eighths].strip()
