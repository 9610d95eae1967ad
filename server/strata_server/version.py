from collections.abc import Iterable, Mapping

import numpy as np

from strata_server.artifact import Artifact
from strata_server.catalog import Layer
from strata_server.deadline import Deadline
from strata_server.errors import ArtifactError
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
        for rows in (1, 2):  # a batch size that is frozen inside the graph shows with the second
            values = self.run({layer.name: _blank(layer, rows) for layer in inputs}, _names(exits), Deadline())
            if any(len(value) != rows for value in values.values()):
                raise ArtifactError(f"expected {rows} rows of each default exit for {rows} rows of its inputs")

    def run(self, entries: Mapping[str, Array], exits: list[str], deadline: Deadline) -> dict[str, Array]:
        """Return the activations of the exits, in their order, running only what lies between.

        Args:
            entries: the value of each input, all with the same number of rows.
            exits: names of layers, each once; one that is an entry is answered as it came.
            deadline: checked once the session is there.

        Raises:
            DeadlinePassed: nobody waits any more; nothing was run.
        """
        values = dict(entries)
        computed = [name for name in exits if name not in entries]
        if computed:
            session = self._sessions.get(Slice.between(entries, computed))
            deadline.check()
            values.update(zip(computed, session.run(computed, values), strict=True))
        return {name: values[name] for name in exits}


def _names(layers: Iterable[Layer]) -> list[str]:
    return [layer.name for layer in layers]


def _blank(layer: Layer, rows: int) -> Array:
    """Return rows of zeros for an input."""
    return np.zeros((rows, *layer.shape[1:]), layer.dtype)
