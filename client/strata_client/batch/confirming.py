"""Makes sure that what answers still is the artifact that a job began with."""

from __future__ import annotations

from strata_client.batch.access import Access
from strata_client.batch.errors import JobFailed
from strata_client.batch.patience import Patience
from strata_client.errors import DeadlineExceeded, Unavailable


class Confirmation:
    """Asks every server for the digest of its artifact; one that does not answer may come back.

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
        """Ask them all; one that is away is left out while another one answers.

        Raises:
            JobFailed: one has another artifact, or none of them answers.
        """
        self._patience.insist(self._check_all)

    def _check_all(self) -> None:
        away = []
        for client in self._clients:
            try:
                digest = client.describe(self._model).digest
            except (Unavailable, DeadlineExceeded) as error:
                away.append(error)
            else:
                self._compare(digest)
        if away and len(away) == len(self._clients):
            raise away[0]

    def close(self) -> None:
        """Close what was opened for it."""
        for client in self._clients:
            client.close()

    def _compare(self, digest: str) -> None:
        if digest != self._artifact:
            raise JobFailed(
                f"{self._model} is another artifact than this job began with: "
                f"expected {self._artifact[:12]}, received {digest[:12]}"
            )
