"""All that a network did with one picture, as the plot wants it."""

from collections.abc import Sequence
from dataclasses import dataclass

from strata_client._sync import Client
from strata_client.activity import Array
from strata_client.catalog import Description
from strata_client.errors import InvalidArgument
from strata_client.images import Picture
from strata_client.predictions import Prediction


@dataclass(frozen=True, eq=False)
class Inspection:
    """What one version of a model made of one picture."""

    description: Description
    activations: dict[str, Array]
    """The layers that were asked, in that order, each (1, ...)."""
    seen: Array | None
    """The activation of the input itself; None where only layers were asked."""
    prediction: Prediction | None
    """The answer; None where only layers were asked, or the model has no labels to give."""


def inspect(client: Client, picture: Picture, layers: Sequence[str], model: str) -> Inspection:
    """Ask for some layers."""
    description = client.describe(model)
    activations = client.activations(picture, layers=layers, model=description.reference)
    return Inspection(description, activations, None, None)


def inspect_fully(client: Client, picture: Picture, layers: Sequence[str], model: str) -> Inspection:
    """Ask for some layers, for what entered the network, and for the answer."""
    description = client.describe(model)
    # Each call names the version, so that all speak of the same one.
    wanted = list(dict.fromkeys([*layers, description.entry]))
    activations = client.activations(picture, layers=wanted, model=description.reference)
    return Inspection(
        description,
        {layer: activations[layer] for layer in layers},
        activations[description.entry],
        _predict(client, picture, description.reference),
    )


def _predict(client: Client, picture: Picture, model: str) -> Prediction | None:
    try:
        return client.predict(picture, model=model)[0]
    except InvalidArgument:
        # The same picture has just been taken: what is refused is the labels, which this model cannot give.
        return None
