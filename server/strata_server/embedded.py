"""Slices of one artifact in this process: the server's own parts, without a socket."""

import queue
import threading
from concurrent.futures import Future
from functools import partial
from pathlib import Path

from strata_server.batching import Batcher
from strata_server.configuration.config_pbtxt import ARTIFACT
from strata_server.configuration.model_settings import ModelSettings
from strata_server.configuration.sources import read_model_settings
from strata_server.control import Change, Control, Listed
from strata_server.coordination import settle
from strata_server.cpus import available_cpus
from strata_server.deadline import Deadline
from strata_server.engine import Engine
from strata_server.errors import (
    ArtifactError,
    DeadlinePassed,
    InvalidArgument,
    OverLimit,
    PermissionDenied,
    Unimplemented,
    quote,
)
from strata_server.layout import NAME, NUMBER
from strata_server.opening import Opener
from strata_server.repository import Repository, Served
from strata_server.rpc.calls import Calls, WaitingCall, read_refusal
from strata_server.rpc.dispatcher import Dispatcher
from strata_server.rpc.health import Health
from strata_server.rpc.methods import Method
from strata_server.rpc.strata import strata_services
from strata_server.runtime import choose_device
from strata_server.settings import DeviceSettings, Settings
from strata_server.tallies import Tallies
from strata_server.version import Version

_NAMELESS = "model"


class Embedded:
    """Answers the calls of strata.v1 about one artifact, as a server does that has no other; threads may share it.

    What several threads ask at the same time runs together.
    """

    def __init__(
        self, artifact: Path, *, model: str = "", threads: int | None = None, allow_external_data: bool = False
    ) -> None:
        """Open an artifact: it is read, run once and measured.

        A file at `NAME/VERSION/model.onnx` has that name and version, and what its model's folder says of it holds.
        Any other is version 1 of a model with the file's own name.

        Args:
            artifact: an ONNX file.
            model: another name for it.
            threads: that one run may use on the CPU; None for as many as this process may use CPUs.
            allow_external_data: whether weights may lie in other files, inside the artifact's folder.

        Raises:
            ArtifactError: it cannot be served; the message says why.
            InvalidArgument: `model` is no name, or `threads` no number from 1 up.
            StartError: the device cannot be had.
        """
        threads = available_cpus() if threads is None else threads
        if threads < 1:
            raise InvalidArgument(f"threads: expected 1 or more, received {threads}")
        found, number, model_settings = _locate(artifact)
        name = model or found
        if not NAME.fullmatch(name):
            raise InvalidArgument(
                f"model: expected a name of letters, digits, '.', '_' and '-', received {quote(name)}"
            )
        settings = Settings(
            models=artifact.parent,
            allow_external_data=allow_external_data,
            devices=DeviceSettings(threads=threads),
        )
        self._max_bytes = settings.limits.max_message_bytes
        self._opener = Opener(settings, choose_device(settings.devices))
        self._version = _open(self._opener, name, number, artifact, model_settings)
        self._repository = Repository()
        self._repository.publish({name: Served(name, {number: self._version}, model_settings)})
        tallies = Tallies(most_versions=1)
        tallies.admit(name, number)
        self._batcher = Batcher(settings.batches, tallies)
        self._dispatcher = Dispatcher(self._batcher, self._max_bytes, tallies=tallies)
        self._calls = Calls()
        self._methods = _find_methods(Engine(self._repository, settings.limits, tallies), _Fixed(name, number))

    @property
    def model(self) -> str:
        """The model's name and the number of its version, as `NAME:VERSION`."""
        return f"{self._version.model}:{self._version.number}"

    def call(self, path: str, request: bytes, timeout_s: float | None = None) -> bytes:
        """Answer one call; a method that streams answers one request of a stream, an error being an answer as well.

        Args:
            path: of the method, such as /strata.v1.InferenceService/Predict.
            request: its message.
            timeout_s: how long to wait; None for as long as it takes.

        Returns:
            The message of the response.

        Raises:
            StrataError: as a server would tell it.
        """
        method = self._methods.get(path)
        if method is None:
            raise Unimplemented(f"unknown method {quote(path)}")
        if len(request) > self._max_bytes:
            raise OverLimit(f"expected a request of at most {self._max_bytes} bytes, received {len(request)}")
        self._calls.enter()
        try:
            return self._answer(method, request, Deadline(timeout_s))
        finally:
            self._calls.leave()

    def _answer(self, method: Method, request: bytes, deadline: Deadline) -> bytes:
        call = WaitingCall(deadline)
        try:
            self._dispatcher.take(method, request, call)
            reply = call.wait(deadline.remaining_s)
        except queue.Empty as error:
            late = DeadlinePassed("the answer was not there in time")
            if method.fail:
                return method.fail(method.request.FromString(request), late).SerializeToString()
            raise late from error
        finally:
            deadline.hang_up()  # the thread may have been interrupted: what still waits is then not run
        if reply.status != "OK":
            raise read_refusal(reply)
        return reply.body

    def close(self) -> None:
        """Take no more calls, finish the open ones, and let go of the memory and the threads."""
        self._calls.drain(None)
        ended = threading.Event()
        self._version.is_retired = True
        self._repository.publish({self._version.model: None})
        # A call that has given up may have left something that runs.
        self._batcher.retire(self._version, ended.set)
        ended.wait()
        self._opener.sessions.release(self._version)
        self._batcher.close()
        self._dispatcher.close()


class _Fixed(Control):
    """One version is served, and nobody changes that."""

    def __init__(self, model: str, number: int) -> None:
        self._listed = Listed(model, str(number), "READY")

    def change(self, change: Change) -> "Future[None]":
        return settle(partial(_refuse, f"to change {change.subject}"))

    def load(self, model: str) -> "Future[None]":
        return settle(partial(_refuse, f"to load {quote(model)}"))

    def unload(self, model: str) -> "Future[None]":
        return settle(partial(_refuse, f"to unload {quote(model)}"))

    def index(self) -> "Future[list[Listed]]":
        return settle(lambda: [self._listed])


def _refuse(what: str) -> None:
    raise PermissionDenied(f"{what} is not allowed: it is one artifact in the caller's own process")


def _locate(artifact: Path) -> tuple[str, int, ModelSettings]:
    """Return the name and the version that the path of an artifact says, and what its model's folder does."""
    path = artifact.absolute()
    version, model = path.parent, path.parent.parent
    if path.name == ARTIFACT and NUMBER.fullmatch(version.name) and NAME.fullmatch(model.name):
        return model.name, int(version.name), read_model_settings(model)
    return path.stem if NAME.fullmatch(path.stem) else _NAMELESS, 1, ModelSettings()


def _open(opener: Opener, name: str, number: int, artifact: Path, settings: ModelSettings) -> Version:
    try:
        return opener.open(name, number, artifact, settings)
    except ArtifactError as error:
        raise ArtifactError(f"{artifact}: {error}") from error


def _find_methods(engine: Engine, control: Control) -> dict[str, Method]:
    """Return what is answered, by its path."""
    services, health = strata_services(engine, control), Health()
    health.begin(list(services))
    methods = [method for each in services.values() for method in each]
    methods += [each for each in health.methods() if isinstance(each, Method)]
    return {method.path: method for method in methods}
