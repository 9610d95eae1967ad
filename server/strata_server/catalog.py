from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from strata_server.elements import BFLOAT16
from strata_server.errors import InvalidArgument, unknown


@dataclass(frozen=True)
class ReceptiveField:
    """The window of the input that one place of a layer is computed from, in pixels for each dimension of space."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    """How far the windows of neighboring places are apart."""


@dataclass(frozen=True)
class Layer:
    """A named point in the network."""

    name: str
    kind: str
    """What computes it: the Keras class, such as Conv2D; the ONNX operator where the file does not say."""
    shape: tuple[int, ...] | None
    """The size of each dimension of its activation; -1 for one that a request decides, such as the batch. None
    where not even their number is known."""
    dtype: np.dtype[np.generic]
    parameters: int
    """The learned numbers in this layer alone."""
    multiply_adds: int
    """Multiply-adds in this layer alone, for one row."""
    depth: int
    """Layers on the longest way from an input; an input has 0."""
    default_exit: bool
    """Whether it belongs to the prediction."""
    channel_axis: int = 0
    """The dimension that counts its channels; 0 where none is known."""
    receptive_field: ReceptiveField | None = None
    """None where no fixed window of the input is seen."""


class Catalog:
    """All layers of a version, by depth; the inputs are among them."""

    def __init__(self, layers: Iterable[Layer], inputs: Iterable[str]) -> None:
        self._layers = {layer.name: layer for layer in layers}
        self.layers = tuple(self._layers.values())
        self.inputs = tuple(self.find(name) for name in inputs)
        self.default_exits = tuple(layer for layer in self.layers if layer.default_exit)
        self.bfloat16s = frozenset(layer.name for layer in self.layers if layer.dtype == BFLOAT16)
        """The names of those whose values onnxruntime takes and gives in another type only."""

    def find(self, name: str) -> Layer:
        """Return a layer by its name.

        Raises:
            NotFound: with the nearest names.
        """
        if name not in self._layers:
            raise unknown("layer", name, self._layers)
        return self._layers[name]

    def check_entry_count(self, received: int) -> None:
        """Refuse more entries than there are layers, before any of them is looked at.

        Raises:
            InvalidArgument: with both numbers.
        """
        if received > len(self.layers):
            raise InvalidArgument(
                f"expected a value for each of {len(self.layers)} inputs and layers at most once, "
                f"received {received} values"
            )

    def check_exit_count(self, received: int) -> None:
        """Refuse more exits than there are layers, before any of them is looked at.

        Raises:
            InvalidArgument: with both numbers.
        """
        if received > len(self.layers):
            raise InvalidArgument(f"expected each of {len(self.layers)} layers at most once, received {received} names")

    @property
    def parameters(self) -> int:
        """The learned numbers of the whole network."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of the whole network, for one row."""
        return sum(layer.multiply_adds for layer in self.layers)
