"""A trained network that learns something else."""

from dataclasses import dataclass

import keras

from strata_training import networks
from strata_training.augmentation import make_layers
from strata_training.course import Course
from strata_training.data import DataSet
from strata_training.errors import Mismatch, NotFound
from strata_training.freezing import Layers
from strata_training.head import replace_head
from strata_training.preprocessing import Preprocessing
from strata_training.records import Plan, Tuning
from strata_training.scratch import describe_preprocessing, load_data
from strata_training.sources import Source, is_source, open_source
from strata_training.stages import Stage, find_output

# The second stage starts from weights that are good already: Keras's guide to fine-tuning wants its rate very low.
_SLOWER = 10
_NOTHING = ("none",)
"""In place of patterns: every layer learns."""


@dataclass(frozen=True, eq=False)
class _Base:
    """What a tuning begins with."""

    network: str
    """Its name; empty where nobody knows it."""
    model: keras.Model
    dataset: DataSet
    preprocessing: Preprocessing | None
    classes: tuple[str, ...] = ()
    """Those it was trained on; empty where nobody knows them."""


def plan_tuning(plan: Plan, tuning: Tuning) -> Course:
    """Return the course of a plan that begins with a trained network.

    Raises:
        TrainingError: the plan cannot be followed.
    """
    base = _open(plan, tuning) if is_source(tuning.origin) else _build(plan, tuning)
    classes = base.dataset.classes
    if tuning.keep_head:
        _check_classes(base)
    # Built now: what cannot be built or frozen is told before anything is trained.
    model = replace_head(base.model, None if tuning.keep_head else len(classes), make_layers(plan.augment))
    find_output(model)
    return Course(base.network, base.dataset, base.preprocessing, lambda: model, _plan_stages(plan, tuning, model))


def _plan_stages(plan: Plan, tuning: Tuning, model: keras.Model) -> list[Stage]:
    layers = Layers(model)
    patterns = () if tuning.freeze == _NOTHING else tuning.freeze
    frozen = layers.up_to(tuning.freeze_until) | layers.matching(patterns)
    if tuning.unfreeze_last:
        return [
            Stage(plan.epochs, plan.learning_rate, layers.learners(layers.head)),
            Stage(
                tuning.unfreeze_epochs or plan.epochs,
                tuning.unfreeze_learning_rate or plan.learning_rate / _SLOWER,
                layers.learners(layers.head | layers.last(tuning.unfreeze_last, frozen)),
            ),
        ]
    learning = layers.weighted - frozen if tuning.freeze or tuning.freeze_until else layers.head
    if not learning:
        raise NotFound("no layer is left to learn: all with weights are frozen")
    return [Stage(plan.epochs, plan.learning_rate, layers.learners(learning))]


def _open(plan: Plan, tuning: Tuning) -> _Base:
    """Return a run's network, or a file's."""
    source = open_source(tuning.origin)
    shape = source.model.input_shape[1:]
    if source.record:
        preprocessing, classes = source.record.preprocessing, source.record.classes
    else:
        preprocessing, classes = _guess_preprocessing(source, tuning), ()
    size = (shape[0], shape[1]) if len(shape) == 3 else None
    dataset = load_data(plan, size, preprocessing.color if preprocessing else None)
    if dataset.inputs.shape[1:] != shape:
        raise Mismatch(
            f"{tuning.origin} takes examples of shape {shape}; those of {dataset.name!r} have "
            f"{dataset.inputs.shape[1:]}"
        )
    return _Base(source.network, source.model, dataset, preprocessing, classes)


def _guess_preprocessing(source: Source, tuning: Tuning) -> Preprocessing | None:
    """Return what a file's network most likely takes, as the file does not say."""
    shape = source.model.input_shape[1:]
    if len(shape) != 3:
        return None
    color = "COLOR_GRAYSCALE" if shape[-1] == 1 else "COLOR_RGB"
    rescales = any(isinstance(layer, keras.layers.Rescaling) for layer in source.model.layers)
    scale = tuning.pixel_scale or (1.0 if rescales else 1 / 255)
    return Preprocessing(source.input_name, color, scale=scale)


def _build(plan: Plan, tuning: Tuning) -> _Base:
    """Return a backbone of keras.applications, whose weights are those that the plan names."""
    network = networks.find(tuning.origin)
    options = networks.make_options(network, {"weights": "imagenet", **plan.options})
    dataset = load_data(plan, network.image_size, network.color)
    model = network.build(dataset.inputs.shape[1:], len(dataset.classes), options, [])
    return _Base(network.name, model, dataset, describe_preprocessing(network, dataset))


def _check_classes(base: _Base) -> None:
    received = base.dataset.classes
    if base.classes and base.classes != received:
        raise Mismatch(
            f"--keep-head: the network knows the classes {', '.join(base.classes)}; "
            f"{base.dataset.name!r} has {', '.join(received)}"
        )
    count = base.model.output_shape[-1]
    if count != len(received):
        raise Mismatch(f"--keep-head: the network has {count} classes, {base.dataset.name!r} has {len(received)}")
