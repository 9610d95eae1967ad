"""Whether the exported network computes what the trained one does."""

from collections.abc import Sequence
from dataclasses import dataclass

from strata_training.conversion import check, convert
from strata_training.errors import TrainingError
from strata_training.networks import find_tolerance
from strata_training.parity import BATCH_SIZES, holds, measure
from strata_training.sources import Source
from strata_training.trace import trace


@dataclass(frozen=True)
class ParityRow:
    """One layer."""

    layer: str
    difference: str
    """The largest."""
    tolerance: str
    is_near: bool


@dataclass(frozen=True)
class Agreement:
    """All layers, or why there are none."""

    rows: Sequence[ParityRow]
    reason: str
    """Why the network cannot be exported; empty where it can."""
    batches: str = " and ".join(map(str, BATCH_SIZES))

    @property
    def is_near(self) -> bool:
        """Whether every layer is as near as it must be."""
        return all(row.is_near for row in self.rows)


def compare(source: Source) -> Agreement:
    """Convert a network, in memory alone, and compare each layer with Keras."""
    try:
        network = trace(source.model)
        artifact = convert(network)
        check(artifact)
        parity = measure(network, artifact, find_tolerance(source.network))
    except TrainingError as error:
        return Agreement((), str(error))
    rows = [
        ParityRow(layer.layer, f"{layer.largest_difference:.1e}", f"{layer.tolerance:.1e}", holds(layer))
        for layer in parity
    ]
    return Agreement(rows, "")
