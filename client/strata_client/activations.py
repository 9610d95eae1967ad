"""What layers answer: their activations, whole or reduced."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from strata_client.predictions import Prediction

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Activations(Mapping[str, "npt.NDArray[Any]"]):
    """One array for each layer, by its name, in the order asked."""

    model: str
    version: str
    """The version that answered."""
    layers: dict[str, npt.NDArray[Any]] = field(repr=False)
    """Each (rows, ...), reduced as asked."""
    channels: dict[str, npt.NDArray[np.int32]] = field(default_factory=dict, repr=False)
    """Of each layer whose top channels or labels were asked: which ones they are, in the shape of its activation."""
    predictions: tuple[Prediction, ...] = ()
    """One for each row, where the top labels were asked."""
    digest: str = ""
    """SHA-256 of the artifact that answered, in lower-case hexadecimal digits; empty from an older server."""

    def __getitem__(self, layer: str) -> npt.NDArray[Any]:
        return self.layers[layer]

    def __iter__(self) -> Iterator[str]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)
