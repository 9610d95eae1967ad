"""What a model answers: labels for each row, and the scores they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

from strata_client.errors import InvalidArgument

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True)
class Label:
    """One class and its score."""

    name: str
    """The name of the class; its index in decimal digits where the model declares no names."""
    index: int
    """Its place among the scores, from 0."""
    score: float
    """A probability where the last layer is a softmax."""


@dataclass(frozen=True)
class Prediction:
    """What the model says about one row."""

    labels: tuple[Label, ...]
    """The best classes, highest score first; empty where no labels were asked."""

    @property
    def label(self) -> str:
        """The name of the best class."""
        return self._best().name

    @property
    def score(self) -> float:
        """The score of the best class."""
        return self._best().score

    def _best(self) -> Label:
        if not self.labels:
            raise InvalidArgument("no labels were asked: top was 0")
        return self.labels[0]


@dataclass(frozen=True, eq=False)
class Predictions(Sequence[Prediction]):
    """One prediction for each row, in the order of the inputs."""

    model: str
    version: str
    """The version that answered."""
    rows: tuple[Prediction, ...]
    outputs: dict[str, npt.NDArray[Any]] = field(repr=False)
    """The default exits by name, each (rows, ...)."""
    digest: str = ""
    """SHA-256 of the artifact that answered, in lower-case hexadecimal digits; empty from an older server."""

    @overload
    def __getitem__(self, index: int) -> Prediction: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Prediction, ...]: ...
    def __getitem__(self, index: int | slice) -> Prediction | tuple[Prediction, ...]:
        return self.rows[index]

    def __len__(self) -> int:
        return len(self.rows)
