"""The page, and the folder that it is written to."""

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from strata_training import runs
from strata_training.evaluation import read_evaluation
from strata_training.folders import fresh_folder
from strata_training.history import read_history
from strata_training.report.agreement import compare
from strata_training.report.boundary import show_boundary
from strata_training.report.confusion import draw_confusion, list_pairs, make_rows
from strata_training.report.curves import draw_curves
from strata_training.report.facts import is_no_better, list_facts
from strata_training.report.feature_maps import FeatureMaps, show_feature_maps
from strata_training.report.filters import show_filters
from strata_training.report.formulas import make_layer_table
from strata_training.report.mistakes import list_mistakes
from strata_training.report.picture import Picture, plain_style
from strata_training.report.samples import read_samples
from strata_training.report.stack import take_apart
from strata_training.report.wording import clean, make_labels, shorten
from strata_training.runs import Run
from strata_training.sources import Source, open_source
from strata_training.trace import Trace

FOLDER = "report"
PAGE = "index.html"

_HERE = Path(__file__).parent
_LONGEST_BESIDE_A_ROW = 13


@dataclass(frozen=True)
class Report:
    """A report that is written."""

    page: Path
    pictures: int
    """Files beside the page."""


def write_report(name: str) -> Report:
    """Write `runs/NAME/report`, whole or not at all; an older one is replaced.

    The same run gives the same bytes.

    Raises:
        NotFound: there is no such run, or it is not finished.
        Unreadable: a file of the run is damaged.
    """
    run = runs.find_run(name)
    with plain_style():
        content = gather(run, open_source(name))
    pictures = _list_pictures(content)
    text = render(content)
    with fresh_folder(run.folder / FOLDER, overwrite=True) as folder:
        (folder / PAGE).write_text(text, encoding="utf-8")
        for picture in pictures:
            (folder / picture.name).write_bytes(picture.png)
    return Report(run.folder / FOLDER / PAGE, len(pictures))


def gather(run: Run, source: Source) -> dict[str, Any]:
    """Return all that the page shows, under the names that the template has for it."""
    record = run.record
    network = take_apart(source.model)
    evaluation = read_evaluation(run.folder / runs.HELD_OUT)
    epochs = read_history(run.folder / runs.HISTORY)
    classes = [shorten(name) for name in record.classes]
    return {
        "name": shorten(run.name),
        "record": record,
        "facts": list_facts(run),
        "is_no_better": is_no_better(record.training),
        "stages": len({epoch.stage for epoch in epochs}),
        "curves": draw_curves(epochs, record.training.best_epoch),
        "confusion": draw_confusion(evaluation.confusion, record.classes),
        "stand_ins": any(label.startswith("#") for label in make_labels(record.classes)),
        "classes": make_rows(evaluation.confusion, record.classes, record.training.class_counts),
        "pairs": list_pairs(evaluation.confusion, classes),
        "mistakes": list_mistakes(evaluation, classes, record.preprocessing),
        "wrong": int(evaluation.confusion.sum() - evaluation.confusion.trace()),
        "filters": show_filters(network, record.preprocessing),
        "boundary": show_boundary(network, record, evaluation),
        "maps": _show_maps(run, network),
        "layers": make_layer_table(network),
        "agreement": compare(source),
    }


def render(content: dict[str, Any]) -> str:
    """Return the page: one file that loads nothing and runs nothing."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=clean,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    style = (_HERE / "page.css").read_text(encoding="utf-8")
    return environment.get_template("page.html").render(content, style=Markup(style), policy=make_policy(style))  # noqa: S704 - a file of ours


def make_policy(style: str) -> str:
    """Return a Content-Security-Policy that allows pictures within the page, this one style, and nothing else."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _show_maps(run: Run, network: Trace) -> list[FeatureMaps]:
    preprocessing, classes = run.record.preprocessing, run.record.classes
    if preprocessing is None or len(network.inputs) != 1:
        return []
    samples = read_samples(run.folder / runs.SAMPLES, classes, preprocessing, network.inputs[0].tensor.shape[1:])
    return show_feature_maps(network, samples, make_labels(classes, _LONGEST_BESIDE_A_ROW), preprocessing)


def _list_pictures(content: dict[str, Any]) -> list[Picture]:
    sections = [content["filters"], content["boundary"], *content["mistakes"], *content["maps"]]
    within = [section.picture for section in sections if section is not None]
    return [content["curves"], content["confusion"], *(picture for picture in within if picture is not None)]
