"""What may be asked about rows: how it is written for some of them, and how the answers become one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

import numpy as np
from strata.v1.inference_pb2 import GetActivationsResponse, PredictResponse

from strata_client import _shared, reductions
from strata_client._calls import reads
from strata_client._shared import Array, Fields
from strata_client._sizes import row_bytes
from strata_client.activations import Activations
from strata_client.catalog import Description
from strata_client.errors import InvalidArgument, Unavailable
from strata_client.predictions import Predictions
from strata_client.reductions import Reduce

Answer = TypeVar("Answer", bound="Predictions | Activations")


class Question(Protocol[Answer]):
    """What is asked about each row."""

    path: str

    def write(self, fields: Fields, model: str) -> bytes:
        """Return a request as it travels."""
        ...

    def read(self, body: bytes) -> Answer:
        """Read an answer."""
        ...

    def measure(self, description: Description) -> int:
        """Return the bytes of an answer for one row; 0 where they are not known."""
        ...

    def join(self, answers: Sequence[Answer], counts: Sequence[int]) -> Answer:
        """Return the answers for parts of the rows, of which there were so many each, as one; it empties them."""
        ...


class Prediction:
    """The prediction, with labels."""

    path = "/strata.v1.InferenceService/Predict"
    read = staticmethod(reads(PredictResponse, _shared.read_predictions))

    def __init__(self, top: int) -> None:
        self._top = top

    def write(self, fields: Fields, model: str) -> bytes:
        """Return a request as it travels."""
        return _shared.write_predict(fields, model, self._top).SerializeToString()

    def measure(self, description: Description) -> int:
        """Return the bytes of an answer for one row; 0 where they are not known."""
        return _add(row_bytes(layer) for layer in description.layers if layer.default_exit)

    def join(self, answers: Sequence[Predictions], counts: Sequence[int]) -> Predictions:
        """Return the answers for parts of the rows as one."""
        first = answers[0]
        outputs = {name: _join(name, [one.outputs.pop(name) for one in answers], counts) for name in [*first.outputs]}
        rows = tuple(row for answer in answers for row in answer)
        return Predictions(first.model, first.version, rows, outputs, _agree(answers))


class Activation:
    """The activations of some layers."""

    path = "/strata.v1.InferenceService/GetActivations"

    def __init__(self, layers: Sequence[str], reduce: Reduce) -> None:
        self._layers = layers
        self._reduce = reduce
        self._read = reads(GetActivationsResponse, lambda response: _shared.read_activations(response, layers))

    def write(self, fields: Fields, model: str) -> bytes:
        """Return a request as it travels."""
        return _shared.write_activations(fields, model, self._layers, self._reduce).SerializeToString()

    def read(self, body: bytes) -> Activations:
        """Read an answer."""
        return self._read(body)

    def measure(self, description: Description) -> int:
        """Return the bytes of an answer for one row; 0 where they are not known."""
        resolved = reductions.resolve(self._reduce, self._layers)
        found = [(description.find(name), resolved[name]) for name in self._layers]
        return _add(row_bytes(layer, reduction) if layer else 0 for layer, reduction in found)

    def join(self, answers: Sequence[Activations], counts: Sequence[int]) -> Activations:
        """Return the answers for parts of the rows as one."""
        first = answers[0]
        layers = {name: _join(name, [one.layers.pop(name) for one in answers], counts) for name in [*first.layers]}
        channels = {
            name: _join(name, [one.channels.pop(name) for one in answers], counts) for name in [*first.channels]
        }
        rows = tuple(row for answer in answers for row in answer.predictions)
        return Activations(first.model, first.version, layers, channels, rows, _agree(answers))


def _agree(answers: Sequence[Predictions] | Sequence[Activations]) -> str:
    """Return the digest of the artifact that has answered all parts.

    Raises:
        Unavailable: there were several under the same version: servers are being replaced.
    """
    digests = {answer.digest for answer in answers}
    if len(digests) > 1:
        raise Unavailable(
            f"{answers[0].model}:{answers[0].version} was replaced by another artifact while it was asked"
        )
    return digests.pop()


def _add(sizes: Iterable[int]) -> int:
    """Return the sum; 0 where one of them is not known."""
    known = list(sizes)
    return sum(known) if all(known) else 0


def _join(name: str, parts: Sequence[Array], counts: Sequence[int]) -> Array:
    """Return arrays one after another.

    Raises:
        InvalidArgument: one has other rows than what entered: it is of all of them, and not of each.
    """
    found = [len(part) if part.ndim else 0 for part in parts]
    if found != list(counts):
        raise InvalidArgument(
            f"{name!r} has no row for each row that enters, and cannot be asked in {len(parts)} requests, which the "
            "limits want: send fewer rows"
        )
    return np.concatenate(parts)
