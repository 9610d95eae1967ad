"""How a batch comes to its model: over servers, or in its own process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from strata_client.errors import DeadlineExceeded, InvalidArgument, Unavailable

if TYPE_CHECKING:
    from strata_client import Client
    from strata_client.catalog import Description


@dataclass(frozen=True)
class Access:
    """Opens clients of one model, here or on another machine: it can be pickled."""

    addresses: tuple[str, ...] = ()
    """Of servers, `HOST:PORT` each."""
    artifact: str = ""
    """A file whose slices are run in this process, where there are no addresses."""
    threads: int | None = None
    """That one run of the artifact may use; None for as many as the process may use CPUs."""
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """What `Client` takes beside the address; it may hold secrets."""

    def open(self, connections: int) -> Client:
        """Return a client for that many requests at a time, which asks once: to ask again is for `Patience`."""
        import strata_client  # noqa: PLC0415 - it imports grpc, which takes its time

        if self.artifact:
            return strata_client.open_artifact(self.artifact, threads=self.threads)
        once = strata_client.Retries(attempts=1, attempts_unreached=1)
        return strata_client.Client(self.addresses, connections=connections, retries=once, **self.options)

    def describe(self, model: str) -> Description:
        """Describe a model by the first server that answers: one that is away or hangs is passed over.

        Raises:
            StrataError: none of them answers, or one refuses.
        """
        for number, each in enumerate(self._open_each(), 1):
            with each as client:
                try:
                    return client.describe(model)
                except (Unavailable, DeadlineExceeded):
                    if number >= len(self.addresses):
                        raise
        raise InvalidArgument("expected a server, or an artifact")

    def _open_each(self) -> Iterator[Client]:
        import strata_client  # noqa: PLC0415 - as above

        if self.artifact:
            yield self.open(1)
        for address in () if self.artifact else self.addresses:
            yield strata_client.Client(address, **self.options)
