"""All that a network did with one input, as the tables, documents and plots want it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from strata_client import activity, reductions
from strata_client._shared import Inputs
from strata_client._sync import Client
from strata_client.activations import Activations
from strata_client.activity import Activity, Array, TopChannel
from strata_client.catalog import Description
from strata_client.errors import InvalidArgument
from strata_client.predictions import Prediction
from strata_client.reductions import NONE, Reduce, Reduction


@dataclass(frozen=True, eq=False)
class Inspection:
    """What one version of a model made of an input."""

    description: Description
    activations: Activations
    """The layers that were asked, in that order, each (rows, ...)."""
    reductions: Mapping[str, Reduction]
    """What was done to each of them."""
    seen: Array | None = None
    """The activation of the input itself; None where only layers were asked, or the request entered at a layer."""
    prediction: Prediction | None = None
    """The answer for the first row; None where only layers were asked, or the model has no labels to give."""

    def measure(self, layer: str) -> Activity:
        """Return the figures of a layer, from what its reduction left of it."""
        values = self.activations[layer]
        if self.reductions.get(layer, NONE).statistics:
            return activity.measure_statistics(values)
        return activity.measure(values, self._channel_axis(layer))

    def count_top(self, layer: str) -> list[TopChannel]:
        """Return which channels are the largest; empty where they were not asked."""
        channels = self.activations.channels.get(layer)
        if channels is None:
            return []
        return activity.count_top(self.activations[layer], channels, self._channel_axis(layer))

    def _channel_axis(self, layer: str) -> int:
        return self.description.channel_axis(layer, np.ndim(self.activations[layer]))


def inspect(
    client: Client, inputs: Inputs, layers: Sequence[str], description: Description, reduce: Reduce = "none"
) -> Inspection:
    """Ask for some layers of the very version that is described."""
    activations = client.activations(inputs, layers, model=description.reference, reduce=reduce)
    return Inspection(description, activations, reductions.resolve(reduce, layers))


def inspect_fully(
    client: Client, inputs: Inputs, layers: Sequence[str], description: Description, reduce: Reduce = "none"
) -> Inspection:
    """Ask for some layers, for what entered the network, and for the answer."""
    inspected = inspect(client, inputs, layers, description, reduce)
    seen = _look(client, inputs, description)
    return replace(inspected, seen=seen, prediction=_predict(client, inputs, description.reference))


def _look(client: Client, inputs: Inputs, description: Description) -> Array | None:
    if isinstance(inputs, Mapping) and description.entry not in inputs:
        return None  # it entered at a layer, and nobody knows what would lead there
    return client.activations(inputs, [description.entry], model=description.reference)[description.entry]


def _predict(client: Client, inputs: Inputs, model: str) -> Prediction | None:
    try:
        return client.predict(inputs, model=model)[0]
    except InvalidArgument:
        # The same input has just been taken: what is refused is the labels, which this model cannot give, or not
        # from the layer where the request entered.
        return None
