"""Makes sure that what answers still is the artifact that a job began with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strata_client.batch.access import Access
from strata_client.batch.errors import JobFailed
from strata_client.batch.patience import Patience

if TYPE_CHECKING:
    from strata_client import Client


class Confirmation:
    """Asks every server for the digest of its artifact; one that does not answer is waited for.

    Args:
        access: to the servers.
        model: `NAME:VERSION`.
        artifact: the digest that is expected.
        patience: with those that do not answer.
    """

    def __init__(self, access: Access, model: str, artifact: str, patience: Patience) -> None:
        self._clients = access.open_each()
        self._model = model
        self._artifact = artifact
        self._patience = patience

    def check(self) -> None:
        """Ask them all.

        Raises:
            JobFailed: one has another artifact, or none of them answers.
        """
        for client in self._clients:
            self._check(client)

    def close(self) -> None:
        """Close what was opened for it."""
        for client in self._clients:
            client.close()

    def _check(self, client: Client) -> None:
        digest = self._patience.insist(lambda: client.describe(self._model)).digest
        if digest != self._artifact:
            raise JobFailed(
                f"{self._model} is another artifact than this job began with: "
                f"expected {self._artifact[:12]}, received {digest[:12]}"
            )
