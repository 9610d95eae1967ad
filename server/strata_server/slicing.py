from collections.abc import Iterable
from dataclasses import dataclass

import onnx
from onnx.utils import Extractor


@dataclass(frozen=True)
class Slice:
    """The part of a network between its entries and its exits, by their names."""

    entries: frozenset[str]
    exits: frozenset[str]

    @classmethod
    def between(cls, entries: Iterable[str], exits: Iterable[str]) -> "Slice":
        """Return the slice from these entries to these exits."""
        return cls(frozenset(entries), frozenset(exits))


class Slicer:
    """Cuts slices out of one network."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._extractor = Extractor(model)

    def cut(self, wanted: Slice) -> bytes:
        """Return the smallest sub-graph that computes the slice's exits from its entries, as an ONNX file."""
        model = self._extractor.extract_model(sorted(wanted.entries), sorted(wanted.exits))
        return model.SerializeToString()
