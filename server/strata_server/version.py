from collections.abc import Iterable, Mapping

import numpy as np

from strata_server.artifact import Artifact
from strata_server.catalog import Layer
from strata_server.sessions import Sessions
from strata_server.slicing import Slice, Slicer
from strata_server.tensors import Array


class Version:
    """One version of a model, ready to run any slice of it."""

    def __init__(self, model: str, number: int, artifact: Artifact, *, threads: int, max_slices: int) -> None:
        self.model = model
        self.number = number
        self.digest = artifact.digest
        self.catalog = artifact.manifest.catalog
        self.classes = artifact.manifest.classes
        self.preprocessing = artifact.manifest.preprocessing
        self.training = artifact.manifest.training
        self._sessions = Sessions(Slicer(artifact.model).cut, threads=threads, most=max_slices)

    def warm(self) -> None:
        """Make the prediction's session and run it once: a network that cannot run is found now."""
        inputs, exits = self.catalog.inputs, self.catalog.default_exits
        self._sessions.pin(Slice.between(_names(inputs), _names(exits)))
        self.run({layer.name: _blank_row(layer) for layer in inputs}, _names(exits))

    def run(self, entries: Mapping[str, Array], exits: list[str]) -> dict[str, Array]:
        """Return the activations of the exits, in their order, running only what lies between.

        Args:
            entries: the value of each input, all with the same number of rows.
            exits: names of layers, each once; one that is an entry is answered as it came.
        """
        computed = [name for name in exits if name not in entries]
        session = self._sessions.get(Slice.between(entries, computed)) if computed else None
        values = session.run(computed, dict(entries)) if session else []
        found = dict(zip(computed, values, strict=True))
        return {name: found[name] if name in found else entries[name] for name in exits}


def _names(layers: Iterable[Layer]) -> list[str]:
    return [layer.name for layer in layers]


def _blank_row(layer: Layer) -> Array:
    """Return zeros in the shape of one row; a size that the artifact leaves open is 1."""
    return np.zeros([max(1, size) for size in layer.shape], layer.dtype)
