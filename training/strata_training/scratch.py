"""A network that learns from nothing."""

import keras

from strata_training import data, networks
from strata_training.augmentation import make_layers
from strata_training.course import Course
from strata_training.data import DataSet, Wanted
from strata_training.errors import Unsupported
from strata_training.networks import Network
from strata_training.preprocessing import Preprocessing
from strata_training.records import Plan
from strata_training.stages import Stage


def plan_scratch(plan: Plan) -> Course:
    """Return the course of a plan that names a network.

    Raises:
        TrainingError: the plan cannot be followed.
    """
    network = networks.find(plan.network)
    options = networks.make_options(network, plan.options)
    dataset = load_data(plan, network.image_size, network.color)
    _check_kind(network, dataset)

    def build() -> keras.Model:
        shape = dataset.inputs.shape[1:]
        return network.build(shape, len(dataset.classes), options, make_layers(plan.augment))

    stages = [Stage(plan.epochs, plan.learning_rate)]
    return Course(network.name, dataset, describe_preprocessing(network, dataset), build, stages)


def load_data(plan: Plan, size: tuple[int, int] | None, color: str | None) -> DataSet:
    """Return the data of a plan, its pictures as a network wants them.

    Args:
        plan: its own size of the pictures counts more than the network's.
        size: height and width in pixels that the network wants; None for that of the pictures.
        color: the name of a strata.v1.Color; None for that of the pictures.
    """
    if plan.image_size:
        height, width = plan.image_size
        size = height, width
    return data.load(plan.data, Wanted(size, color, plan.classes, plan.skip_bad))


def describe_preprocessing(network: Network, dataset: DataSet) -> Preprocessing | None:
    """Return what happens to the pictures of a data set before they enter a network; None for points."""
    if not dataset.is_pictures:
        return None
    own = "COLOR_GRAYSCALE" if dataset.inputs.shape[-1] == 1 else "COLOR_RGB"
    return Preprocessing(
        networks.INPUT,
        network.color or own,
        scale=network.scale,
        means=network.means,
        deviations=network.deviations,
    )


def _check_kind(network: Network, dataset: DataSet) -> None:
    kind = "pictures" if dataset.is_pictures else "points"
    if network.takes not in {kind, "both"}:
        raise Unsupported(f"the network {network.name!r} takes {network.takes}; {dataset.name!r} has {kind}")
