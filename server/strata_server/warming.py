"""Slices that are made before anybody asks for them."""

import logging
from collections.abc import Iterable

from strata_server.errors import StartError, StrataError
from strata_server.repository import Repository
from strata_server.version import Version

log = logging.getLogger(__name__)


class Warming:
    """Which slices every version is to have ready."""

    def __init__(self, wanted: Iterable[tuple[str, str]]) -> None:
        """Take what was asked for: NAME[:VERSION], and layers with commas between them.

        Raises:
            StartError: that cannot be read.
        """
        self._wanted: list[tuple[str, str, list[str]]] = []
        for reference, layers in wanted:
            model, _, version = reference.partition(":")
            names = [name.strip() for name in layers.split(",")]
            if not model or not all(names) or len(set(names)) < len(names):
                expected = "expected a model and the names of layers, each once, joined with commas"
                raise StartError(f"--warm {reference} {layers}: {expected}")
            self._wanted.append((model, version, names))

    def prepare(self, version: Version) -> None:
        """Make the slices of a version; one that it has not is logged, and no reason not to serve it."""
        for model, number, names in self._wanted:
            if model == version.model and number in {"", str(version.number)}:
                try:
                    version.prepare(names)
                except StrataError as error:
                    log.warning("--warm: model %s version %d: %s", version.model, version.number, error)

    def check(self, repository: Repository) -> None:
        """Refuse what no model has.

        Raises:
            StartError: with what was asked for.
        """
        for model, number, names in self._wanted:
            try:
                version = repository.find(model, number)
                for name in names:
                    version.catalog.find(name)
            except StrataError as error:
                reference = f"{model}:{number}" if number else model
                raise StartError(f"--warm {reference} {','.join(names)}: {error}") from error
