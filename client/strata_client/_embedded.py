"""A client without a server: it runs the slices of one artifact in its own process."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strata_client._calls import Call, Line, Take
from strata_client._status import name_error
from strata_client._sync import Client
from strata_client.errors import Cancelled, MissingExtra, StrataError

if TYPE_CHECKING:
    from strata_server.embedded import Embedded
    from strata_server.errors import StrataError as ServersError

_WIDTH = 2
"""While one call runs, the next one is read."""


def open_artifact(
    artifact: str | Path,
    *,
    model: str = "",
    threads: int | None = None,
    allow_external_data: bool = False,
    timeout_s: float = 30.0,
) -> Client:
    """Open an artifact in this process, without a server: the same methods, answers and errors as a server's.

    A file at `NAME/VERSION/model.onnx` is that version of that model, and what the model's folder says of it holds; any
    other is version 1 of a model with the file's own name. Closing the client finishes the calls that are under way.

    Args:
        artifact: an ONNX file.
        model: another name for it.
        threads: that one run may use on the CPU; None for as many as this process may use CPUs.
        allow_external_data: whether weights may lie in other files, inside the artifact's folder.
        timeout_s: how long a call may take; each method takes its own as well.

    Raises:
        MissingExtra: the distribution strata-server is not installed.
        FailedPrecondition: the file is no artifact that can be served; the text says why.
        InvalidArgument: one of the others cannot be meant.
    """
    try:
        from strata_server.embedded import Embedded  # noqa: PLC0415 - it imports onnxruntime
        from strata_server.errors import StartError  # noqa: PLC0415 - as above
        from strata_server.errors import StrataError as ServersError  # noqa: PLC0415 - as above
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "strata_server":
            raise
        raise MissingExtra("", "strata-server") from error
    place = str(artifact)
    try:
        embedded = Embedded(Path(artifact), model=model, threads=threads, allow_external_data=allow_external_data)
    except StartError as error:
        raise name_error("FAILED_PRECONDITION", str(error), place, timeout_s) from error
    except ServersError as error:
        raise _translate(error, place, timeout_s) from error
    return Client._over(_InProcess(embedded, ServersError, place), timeout_s=timeout_s)  # noqa: SLF001 - made for it


class _InProcess:
    """The transport to an artifact in this process."""

    width = _WIDTH

    def __init__(self, embedded: Embedded, error: type[ServersError], place: str) -> None:
        self.addresses: tuple[str, ...] = (place,)
        self._embedded = embedded
        self._error = error
        self._place = place
        self._closed = threading.Event()

    def perform(self, call: Call[Any], timeout_s: float) -> bytes:
        """Answer a call."""
        if self._closed.is_set():
            raise Cancelled("the client is closed")
        try:
            return self._embedded.call(call.path, call.body, timeout_s)
        except self._error as error:
            if self._closed.is_set() and error.status == "UNAVAILABLE":
                raise Cancelled("the client is closed") from error
            raise _translate(error, self._place, timeout_s) from error

    def begin(self, path: str, take: Take, timeout_s: float) -> Line:
        """Begin what is a call for each message here."""
        return _Calls(self, path, take, timeout_s)

    def close(self) -> None:
        """Finish the calls that are under way, and refuse those that come later."""
        self._closed.set()
        self._embedded.close()


class _Calls:
    """The line to an artifact in this process: each message is answered while it is sent."""

    def __init__(self, transport: _InProcess, path: str, take: Take, timeout_s: float) -> None:
        self._transport = transport
        self._path = path
        self._take = take
        self._timeout_s = timeout_s

    def send(self, body: bytes) -> None:
        """Answer a message."""
        try:
            answer = self._transport.perform(Call(self._path, body, bytes), self._timeout_s)
        except StrataError as error:
            self._take(error)
        else:
            self._take(answer)

    def close(self, reason: StrataError | None = None) -> None:
        """Do nothing: nothing is under way."""


def _translate(error: ServersError, place: str, timeout_s: float) -> StrataError:
    ours = name_error(error.status, str(error), place, timeout_s)
    ours.retry_after_s = getattr(error, "retry_s", None)
    return ours
