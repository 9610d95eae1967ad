"""How a batch comes to its model: over servers, or in its own process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from strata_client import Client


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
        """Return a client for that many requests at a time."""
        import strata_client  # noqa: PLC0415 - it imports grpc, which takes its time

        if self.artifact:
            return strata_client.open_artifact(self.artifact, threads=self.threads)
        return strata_client.Client(self.addresses, connections=connections, **self.options)

    def open_each(self) -> list[Client]:
        """Return a client of each server, which may differ in what they serve; one that is away is not waited for."""
        import strata_client  # noqa: PLC0415 - as above

        options = {**self.options, "connections": 1, "retries": strata_client.Retries(attempts=1)}
        return [strata_client.Client(address, **options) for address in self.addresses]
