"""The client that waits for each answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from strata_client import _chunks, _conversations, _streams, comparison
from strata_client._calls import Call, Conversation, Round, Transport, check_timeout, tell
from strata_client._channels import Channels, Route, Token
from strata_client._shared import MAX_MESSAGE_BYTES, Inputs
from strata_client._streams import WINDOW, Form
from strata_client.activations import Activations
from strata_client.catalog import Description, Layer, Model
from strata_client.differences import Differences
from strata_client.errors import Cancelled, StrataError
from strata_client.health import Health
from strata_client.predictions import Predictions
from strata_client.reductions import Reduce
from strata_client.repository import RepositoryVersion
from strata_client.retries import Retries, choose_wait
from strata_client.security import TLS

_Answer = TypeVar("_Answer")


class Client:
    """Asks one server or several; threads may share it.

    A model is named `NAME` or `NAME:VERSION`: without a version the newest one answers, and the whole name
    may be left out where exactly one model is served. A method that gets no answer raises a `StrataError`.

    Args:
        address: `HOST:PORT` of a server's gRPC port, or of several that serve the same, in one text with commas between
            them or in a list. Each is asked in its turn; one that does not answer is passed over for a while. They are
            first connected to by the first call.
        timeout_s: how long a call may take, repetitions included; each method takes its own as well. Of an input that
            is sent in several requests it is the time of each.
        max_message_bytes: the largest request that is sent; an answer may have any size.
        connections: how many are opened to each address, one for each call that is under way at the same time. A
            connection reaches one worker of a server that has several.
        tls: encrypts the connections.
        token: what the server knows its caller by, sent as `authorization: Bearer TOKEN`; something to call is called
            for each request.
        plain_token: sends a token without `tls` to other machines as well, where a network is private.
        retries: when a call that failed is made again.

    Raises:
        InvalidArgument: one of these cannot be meant, a file of `tls` is none of its kind, or a token would be sent to
            another machine without `tls`.
        OSError: a file of `tls` cannot be read.
    """

    def __init__(
        self,
        address: str | Sequence[str] = "localhost:8001",
        *,
        timeout_s: float = 30.0,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        connections: int = 4,
        tls: TLS | None = None,
        token: Token | None = None,
        plain_token: bool = False,
        retries: Retries = Retries(),  # noqa: B008 - frozen
    ) -> None:
        route = Route(
            address,
            max_message_bytes=max_message_bytes,
            connections=connections,
            tls=tls,
            token=token,
            plain_token=plain_token,
        )
        self._begin(Channels(route), timeout_s, max_message_bytes, retries)

    @classmethod
    def _over(
        cls,
        transport: Transport,
        *,
        timeout_s: float = 30.0,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        retries: Retries = Retries(),  # noqa: B008 - frozen
    ) -> Self:
        """Return a client that asks over another transport."""
        client = cls.__new__(cls)
        client._begin(transport, timeout_s, max_message_bytes, retries)  # noqa: SLF001 - it is one of its own
        return client

    def _begin(self, transport: Transport, timeout_s: float, max_message_bytes: int, retries: Retries) -> None:
        self._transport = transport
        self._timeout_s = check_timeout(timeout_s)
        self._limits = _chunks.Limits(max_message_bytes)
        self._retries = retries
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; a call that still waits ends with Cancelled."""
        with self._lock:
            self._closed.set()
            threads = self._threads
        self._transport.close()
        if threads:
            threads.shutdown()

    def health(self, *, timeout_s: float | None = None) -> Health:
        """Ask each server whether it takes requests, by gRPC's standard health check."""
        return self._hold(_conversations.health(self._transport.addresses), timeout_s)

    def models(self, *, timeout_s: float | None = None) -> list[Model]:
        """List the models and versions that are served, by name, then by version."""
        return self._hold(_conversations.models(), timeout_s)

    def describe(self, model: str = "", *, timeout_s: float | None = None) -> Description:
        """Describe one version of a model: its inputs, layers, classes and training."""
        return self._hold(_conversations.describe(model), timeout_s)

    def layers(self, model: str = "", *, timeout_s: float | None = None) -> list[Layer]:
        """List the layers of a model by depth, the inputs first."""
        return list(self.describe(model, timeout_s=timeout_s).layers)

    def predict(self, inputs: Inputs, *, model: str = "", top: int = 5, timeout_s: float | None = None) -> Predictions:
        """Compute the prediction.

        Any number of rows is sent in as many requests as the limits want, and one version answers all of them.

        Args:
            inputs: an array for the model's only input, shape (rows, ...); a mapping of names to such arrays,
                those of inputs, or of layers, where the network then begins; or pictures, one row each: a path,
                the bytes of a PNG or JPEG file, a PIL image, or a list of those. An array's type must be that of
                its input or layer: nothing is converted.
            model: `NAME` or `NAME:VERSION`.
            top: labels wanted for each row, best first; 0 asks for none.
            timeout_s: how long each request may take.
        """
        return self._hold(_conversations.predict(inputs, model, top, self._limits), timeout_s)

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

        Any number of rows is sent in as many requests as the limits want, and one version answers all of them.

        Args:
            inputs: as `predict` takes them.
            layers: the names wanted, each once; an input's name answers what the network saw there.
            model: `NAME` or `NAME:VERSION`.
            reduce: what is done to each activation before it is sent, such as `mean` or `channels:0-16+half` (see
                `strata_client.reductions.parse`), or a `Reduction`; or a mapping of layers' names to such, the
                others being sent whole.
            timeout_s: how long each request may take.

        Returns:
            One array for each layer, in the order asked, shape (rows, ...) in the network's own layout: an
            artifact exported from Keras has (rows, height, width, channels). Where the top channels were asked,
            their indices beside it, and where the top labels, those.
        """
        return self._hold(_conversations.activations(inputs, layers, model, reduce, self._limits), timeout_s)

    @overload
    def stream(
        self,
        inputs: Iterable[Inputs],
        *,
        model: str = "",
        top: int = 5,
        window: int = WINDOW,
        timeout_s: float | None = None,
    ) -> Iterator[Predictions | StrataError]: ...
    @overload
    def stream(
        self,
        inputs: Iterable[Inputs],
        layers: Sequence[str],
        *,
        model: str = "",
        reduce: Reduce = "none",
        top: int = 5,
        window: int = WINDOW,
        timeout_s: float | None = None,
    ) -> Iterator[Activations | StrataError]: ...
    def stream(
        self,
        inputs: Iterable[Inputs],
        layers: Sequence[str] = (),
        *,
        model: str = "",
        reduce: Reduce = "none",
        top: int = 5,
        window: int = WINDOW,
        timeout_s: float | None = None,
    ) -> Iterator[Predictions | StrataError] | Iterator[Activations | StrataError]:
        """Ask for each of many small inputs on one call, and give the answers in the order of the inputs.

        Inputs are taken one by one as answers are: there may be any number of them, without an end as well. A request
        that fails has its error in the place of its answer, and the stream goes on. What waits to be answered when a
        connection breaks is sent again, and so is what a server had no room for, as `retries` says. Whoever leaves the
        loop early ends the call.

        Inputs are taken in the caller's own thread: while a live source has none, no answer is given either. Where
        answers must not wait for the next input, use `AsyncClient` with an asynchronous source.

        Args:
            inputs: each as `predict` takes them, sent in one request: a row, or a few.
            layers: as in `activations`; without them predictions are given.
            model: `NAME` or `NAME:VERSION`.
            reduce: as in `activations`.
            top: as in `predict`.
            window: most inputs that are taken before their answers are.
            timeout_s: how long each request may take, repetitions included.

        Returns:
            A `Predictions` or `Activations` for each of the inputs, or the StrataError that stands in its place.

        Raises:
            InvalidArgument: what is asked cannot be meant, whatever the inputs.
            Cancelled: while it runs: the client was closed.
            Exception: while it runs: what `inputs` has raised, the OSError of a path that cannot be read, or the
                TypeError of what enters no network, once all before is given.
        """
        timeout_s = self._timeout_s if timeout_s is None else check_timeout(timeout_s)
        max_bytes, rows = self._limits.request_bytes, iter(inputs)
        if layers:
            activations = _streams.form_activations(model, layers, reduce, max_bytes)
            return self._stream(activations, rows, window, timeout_s)
        return self._stream(_streams.form_predictions(model, top, max_bytes), rows, window, timeout_s)

    def _stream(
        self, form: Form[_Answer], inputs: Iterator[Inputs], window: int, timeout_s: float
    ) -> Iterator[_Answer | StrataError]:
        course = _streams.begin(form, self._retries, window, timeout_s)
        return _streams.stream(self._transport, course, inputs, timeout_s)

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
            timeout_s: how long each request may take.

        Raises:
            InvalidArgument: they have no layer in common.
            NotFound: one of them lacks one of `layers`.
        """
        conversation = comparison.compare(a, b, inputs, layers=layers, tolerance=tolerance, limits=self._limits)
        return self._hold(conversation, timeout_s)

    def versions(self, *, timeout_s: float | None = None) -> list[RepositoryVersion]:
        """List every version in the server's model repository, served or not, by name, then by version."""
        return self._hold(_conversations.versions(), timeout_s)

    def load(self, model: str, *, timeout_s: float | None = None) -> None:
        """Have a model served as the repository holds it now; it is when this returns.

        Args:
            model: its name, without a version: its settings in the repository say which are served.
            timeout_s: how long to wait; large networks take their time. What has begun goes on nevertheless.

        Raises:
            PermissionDenied: the server was not started with `--repository explicit`.
            NotFound: the repository has no such model.
            FailedPrecondition: a version of it cannot be served; those that can be are, and what was goes on.
        """
        self._hold(_conversations.load(model), timeout_s)

    def unload(self, model: str, *, timeout_s: float | None = None) -> None:
        """Have a model served no longer; arguments and errors as in `load`, NotFound where it is not served."""
        self._hold(_conversations.unload(model), timeout_s)

    def _hold(self, conversation: Conversation[_Answer], timeout_s: float | None) -> _Answer:
        """Hold a conversation to its end."""
        timeout_s = self._timeout_s if timeout_s is None else check_timeout(timeout_s)
        try:
            step = next(conversation)
            while True:
                try:
                    answer = self._make(step, timeout_s) if isinstance(step, Call) else self._make_all(step, timeout_s)
                except StrataError as error:
                    step = conversation.throw(error)
                else:
                    step = conversation.send(answer)
        except StopIteration as end:
            value: _Answer = end.value
            return value

    def _make(self, call: Call[Any], timeout_s: float) -> Any:
        """Make a call, again if need be, and return its answer or an error that it tolerates."""
        try:
            return call.read(self._perform(call, timeout_s))
        except StrataError as error:
            return tell(call, error)

    def _perform(self, call: Call[Any], timeout_s: float) -> bytes:
        ends, left_s, attempt = monotonic() + timeout_s, timeout_s, 1
        while True:
            try:
                return self._transport.perform(call, left_s)
            except StrataError as error:
                wait_s = choose_wait(self._retries, attempt, error, ends - monotonic()) if call.is_safe else None
                if wait_s is None:
                    raise
            if self._closed.wait(wait_s):
                raise Cancelled("the client is closed")
            left_s, attempt = ends - monotonic(), attempt + 1

    def _make_all(self, step: Iterable[Call[Any]], timeout_s: float) -> list[Any]:
        """Make the calls of a step, as many at a time as the transport is worth."""
        calls = Round(step)
        lock = threading.Lock()
        helpers: list[Future[None]] = []

        def work() -> None:
            while True:
                with lock:
                    taken = calls.take()
                    if taken is not None and len(helpers) < self._transport.width - 1:
                        helpers.append(self._help(work))
                if taken is None:
                    return
                number, call = taken
                try:
                    calls.keep(number, self._make(call, timeout_s))
                except Exception as error:  # noqa: BLE001 - whoever waits for all of them gets it
                    calls.fail(number, error)

        try:
            work()
        except BaseException as error:
            calls.fail(-1, error)  # so that the others end
            raise
        while helpers:
            helpers.pop().result()
        return calls.end()

    def _help(self, work: Callable[[], None]) -> Future[None]:
        """Let a thread do it; threads are made when they are needed."""
        with self._lock:
            if self._closed.is_set():
                raise Cancelled("the client is closed")
            if self._threads is None:
                self._threads = ThreadPoolExecutor(self._transport.width, "strata-client")
            return self._threads.submit(work)
