"""The client that waits for each answer."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self, TypeVar

import grpc
from strata.v1.catalog_pb2 import ListModelsRequest

from strata_client import _shared, comparison
from strata_client._connections import Connection, Connections
from strata_client._shared import MAX_MESSAGE_BYTES, Inputs
from strata_client._status import translated
from strata_client.activations import Activations
from strata_client.catalog import Description, Layer, Model
from strata_client.differences import Differences
from strata_client.errors import InvalidArgument
from strata_client.predictions import Predictions
from strata_client.reductions import Reduce

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")


class Client:
    """Asks one server; threads may share it.

    A model is named `NAME` or `NAME:VERSION`: without a version the newest one answers, and the whole name
    may be left out where exactly one model is served. A method that gets no answer raises a `StrataError`.

    Args:
        address: `HOST:PORT` of the server's gRPC port. It is first connected to by the first call.
        timeout_s: how long a call may take; each method takes its own as well.
        max_message_bytes: the largest request that is sent; an answer may have any size.
        connections: how many are opened, one for each call that is under way at the same time. A connection reaches
            one worker of a server that has several.
    """

    def __init__(
        self,
        address: str = "localhost:8001",
        *,
        timeout_s: float = 30.0,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        connections: int = 4,
    ) -> None:
        if connections < 1:
            raise InvalidArgument(f"connections: expected 1 or more; received {connections}")
        self._address = address
        self._timeout_s = timeout_s
        self._max_message_bytes = max_message_bytes
        self._connections = Connections(address, max_message_bytes, connections)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; a call that still waits ends with Cancelled."""
        self._connections.close()

    def is_serving(self, *, timeout_s: float | None = None) -> bool:
        """Ask whether the server takes requests, by gRPC's standard health check."""
        # Both messages are small enough to be written by hand, which spares a dependency: an empty request
        # means the whole server, and field 1 of the answer is 1 where it serves.
        return self._call(lambda to: to.health, b"", timeout_s) == b"\x08\x01"

    def models(self, *, timeout_s: float | None = None) -> list[Model]:
        """List the models and versions that are served, by name, then by version."""
        return _shared.read_models(self._call(lambda to: to.catalog.ListModels, ListModelsRequest(), timeout_s))

    def describe(self, model: str = "", *, timeout_s: float | None = None) -> Description:
        """Describe one version of a model: its inputs, layers, classes and training."""
        request = _shared.write_describe(model)
        return _shared.read_description(self._call(lambda to: to.catalog.DescribeModel, request, timeout_s))

    def layers(self, model: str = "", *, timeout_s: float | None = None) -> list[Layer]:
        """List the layers of a model by depth, the inputs first."""
        return list(self.describe(model, timeout_s=timeout_s).layers)

    def predict(self, inputs: Inputs, *, model: str = "", top: int = 5, timeout_s: float | None = None) -> Predictions:
        """Compute the prediction.

        Args:
            inputs: an array for the model's only input, shape (rows, ...); a mapping of names to such arrays,
                those of inputs, or of layers, where the network then begins; or pictures, one row each: a path,
                the bytes of a PNG or JPEG file, a PIL image, or a list of those. An array's type must be that of
                its input or layer: nothing is converted.
            model: `NAME` or `NAME:VERSION`.
            top: labels wanted for each row, best first; 0 asks for none.
            timeout_s: how long to wait.
        """
        request = _shared.write_predict(inputs, model, top, self._max_message_bytes)
        return _shared.read_predictions(self._call(lambda to: to.inference.Predict, request, timeout_s))

    def activations(
        self,
        inputs: Inputs,
        layers: Sequence[str],
        *,
        model: str = "",
        reduce: Reduce = "none",
        timeout_s: float | None = None,
    ) -> Activations:
        """Compute the activations of some layers, running only the part of the network that they need.

        Args:
            inputs: as `predict` takes them.
            layers: the names wanted, each once; an input's name answers what the network saw there.
            model: `NAME` or `NAME:VERSION`.
            reduce: what is done to each activation before it is sent, such as `mean` or `channels:0-16+half` (see
                `strata_client.reductions.parse`), or a `Reduction`; or a mapping of layers' names to such, the
                others being sent whole.
            timeout_s: how long to wait.

        Returns:
            One array for each layer, in the order asked, shape (rows, ...) in the network's own layout: an
            artifact exported from Keras has (rows, height, width, channels). Where the top channels were asked,
            their indices beside it, and where the top labels, those.
        """
        request = _shared.write_activations(inputs, model, layers, reduce, self._max_message_bytes)
        response = self._call(lambda to: to.inference.GetActivations, request, timeout_s)
        return _shared.read_activations(response, layers)

    def diff(
        self,
        a: str,
        b: str,
        inputs: Inputs,
        *,
        layers: Sequence[str] = (),
        tolerance: float = comparison.TOLERANCE,
        timeout_s: float | None = None,
    ) -> Differences:
        """Compare two versions, or two models with layers of the same names, layer by layer on the same inputs.

        It asks for what fits a message at a time, so a network of any size can be compared. Pictures go to both;
        where only one of the two takes pictures, the other gets what that one saw. Arrays by A's name for its only
        input enter B under B's name.

        Args:
            a: `NAME` or `NAME:VERSION` of the one that is taken to be right.
            b: the other one.
            inputs: as `predict` takes them.
            layers: the only ones to compare; none means all that both have with the same shape.
            tolerance: by how much of a layer's largest magnitude in A it may differ.
            timeout_s: how long to wait for each answer.

        Raises:
            InvalidArgument: they have no layer in common.
            NotFound: one of them lacks one of `layers`.
        """
        return comparison.compare(
            self,
            a,
            b,
            inputs,
            layers=layers,
            tolerance=tolerance,
            max_bytes=self._max_message_bytes,
            timeout_s=timeout_s,
        )

    def _call(
        self,
        choose: "Callable[[Connection], grpc.UnaryUnaryMultiCallable[_Request, _Response]]",
        request: _Request,
        timeout_s: float | None,
    ) -> _Response:
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        with translated(self._address, timeout_s), self._connections.borrow() as connection:
            return choose(connection)(request, timeout=timeout_s)
