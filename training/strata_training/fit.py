"""Training: from a plan to a run."""

import shutil
from pathlib import Path

from strata_training import data, runs
from strata_training.config import write_plan
from strata_training.course import Course
from strata_training.data import DataSet, Split
from strata_training.devices import scope
from strata_training.errors import Changed
from strata_training.evaluation import Evaluation, evaluate
from strata_training.examples import take
from strata_training.finetune import plan_tuning
from strata_training.journal import Journal
from strata_training.keeper import Report
from strata_training.libraries import training_versions
from strata_training.names import file_names
from strata_training.preprocessing import Preprocessing
from strata_training.records import Figures, Plan, Record
from strata_training.runs import Run
from strata_training.scratch import plan_scratch
from strata_training.stages import make_repeatable, train


def fit(plan: Plan, name: str, *, resume: bool = False, report: Report = print) -> Run:
    """Train a network and write the run; the same plan on the same machine gives the same weights.

    Args:
        plan: what to learn, and how.
        name: the run's.
        resume: whether to go on with an unfinished run of that name, which was started with the same plan.
        report: takes a line for each epoch.

    Raises:
        TrainingError: the plan cannot be followed; the message says what is wrong with it.
        Stopped: the user broke it off, and can go on.
    """
    with runs.open_run(name) if resume else runs.new_run(name) as folder:
        if not resume:
            write_plan(folder / runs.CONFIG, plan)
        make_repeatable(plan.seed)
        with scope(plan.strategy):
            course = plan_tuning(plan, plan.tuning) if plan.tuning else plan_scratch(plan)
            _check_data(folder / runs.DATA_DIGEST, course.dataset)
            parts = data.split(course.dataset, plan.seed, plan.samples_per_class)
            learned = take(course.dataset, parts.training, course.preprocessing, plan.shift)
            chosen_by = take(course.dataset, parts.validation, course.preprocessing)
            journal = train(folder, plan, course.build, course.stages, (learned, chosen_by), report)
            record = _finish(folder, plan, course, parts, journal)
    return Run(runs.RUNS / name, record)


def _check_data(path: Path, dataset: DataSet) -> None:
    """Note what a run learns from, and refuse to go on with anything else."""
    if not path.exists():
        path.write_text(f"{dataset.digest}\n", encoding="utf-8")
    elif path.read_text(encoding="utf-8").strip() != dataset.digest:
        raise Changed(f"{dataset.name!r} has changed since the run began: it holds other examples, or other classes")


def _finish(folder: Path, plan: Plan, course: Course, parts: Split, journal: Journal) -> Record:
    """Measure the best weights and write all that a finished run holds, its record last."""
    best = journal.load_best()
    # The held-out examples are used here for the first time.
    held_out = take(course.dataset, parts.test, course.preprocessing)
    evaluation = evaluate(best, held_out, plan.batch_size)
    evaluation.write(folder / runs.HELD_OUT)
    if course.preprocessing:
        write_samples(folder / runs.SAMPLES, course.dataset, parts.test, course.preprocessing)
    reached = best.evaluate(held_out.in_order(plan.batch_size), verbose=0, return_dict=True)
    figures = _describe(course.dataset, parts, journal, evaluation, float(reached["loss"]))
    record = Record(plan, course.network, figures, course.dataset.classes, course.preprocessing, training_versions())
    draft = folder / f".{runs.RECORD}"
    draft.write_text(record.to_json(), encoding="utf-8")
    draft.replace(folder / runs.RECORD)
    return record


def write_samples(folder: Path, dataset: DataSet, held_out: data.Rows, preprocessing: Preprocessing) -> None:
    """Write the first held-out picture of each class as CLASS.png, whether or not it is classified right."""
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed while it wrote them
    folder.mkdir()
    for label, name in enumerate(file_names(dataset.classes)):
        rows = held_out[dataset.labels[held_out] == label]
        if len(rows):
            picture = preprocessing.as_picture(dataset.inputs[rows[0]])
            picture.save(folder / f"{name}.png")


def _describe(dataset: DataSet, parts: Split, journal: Journal, evaluation: Evaluation, loss: float) -> Figures:
    right = evaluation.scores.argmax(axis=1) == evaluation.labels
    return Figures(
        data=dataset.name,
        data_digest=dataset.digest,
        epochs=len(journal.epochs),
        best_epoch=journal.best.epoch if journal.best else 0,
        class_counts=dataset.class_counts,
        skipped=dataset.skipped,
        training_rows=len(parts.training),
        validation_rows=len(parts.validation),
        test_rows=len(parts.test),
        test_accuracy=float(right.mean()),
        test_loss=loss,
    )
