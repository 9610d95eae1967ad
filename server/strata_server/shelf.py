"""The versions that this process serves, as changes put them there."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from strata_server.configuration.model_settings import ModelSettings
from strata_server.control import Json, Values
from strata_server.errors import ArtifactError, Unservable
from strata_server.opening import Opener
from strata_server.repository import Repository, Served
from strata_server.version import Version

MODELS = "models"
"""The subject of changes: by the name of a model its settings, and path and digest of each version."""

log = logging.getLogger(__name__)


class Shelf:
    """Opens versions before they are served, and lets go of those that are served no more."""

    def __init__(
        self,
        repository: Repository,
        opener: Opener,
        prepare: Callable[[Version], None],
        retire: Callable[[Version], None],
    ) -> None:
        """Follow changes of the models.

        Args:
            repository: where requests find versions.
            opener: opens them.
            prepare: makes ready what else a new version is to have.
            retire: lets go of a version, once nothing new comes to it.
        """
        self._repository = repository
        self._opener = opener
        self._prepare_version = prepare
        self._retire = retire
        self._values: dict[str, Json] = {}
        self._shown: dict[str, Served] = {}
        self._prepared: dict[str, Served | None] = {}

    def prepare(self, values: Values) -> None:
        """Open the versions of models that are new.

        Raises:
            Unservable: one cannot be served here.
        """
        for model, value in values.items():
            try:
                self._prepared[model] = self._open_model(model, value)
            except ArtifactError as error:
                self.abandon(values)
                raise Unservable(str(error)) from error

    def commit(self, values: Values) -> None:
        """Serve them, in place of those before."""
        models = {model: self._prepared.pop(model) for model in values}
        gone = [old for model, new in models.items() for old in self._missing(self._shown.get(model), new)]
        for version in gone:
            version.is_retired = True  # first: what remembers versions looks at it
        self._repository.publish(models)
        for model, served in models.items():
            if served:
                self._values[model], self._shown[model] = values[model], served
            else:
                self._values.pop(model, None)
                self._shown.pop(model, None)
        for version in gone:
            self._retire(version)

    def abandon(self, values: Values) -> None:
        """Let go of what was opened."""
        for model in values:
            new = self._prepared.pop(model, None)
            for version in self._missing(new, self._shown.get(model)):
                version.is_retired = True
                self._retire(version)

    def _open_model(self, model: str, value: Json) -> Served | None:
        if not isinstance(value, dict):
            return None
        told: dict[str, Any] = value
        settings = ModelSettings.read(told["settings"])
        versions: dict[int, Version] = {}
        try:
            for number, artifact in told["versions"].items():
                kept = self._find_same(model, int(number), artifact["digest"], told["settings"])
                versions[int(number)] = kept or self._open_version(model, int(number), artifact, settings)
        except ArtifactError:
            self._prepared[model] = Served(model, versions)
            raise
        return Served(model, dict(sorted(versions.items())), settings.labels)

    def _open_version(self, model: str, number: int, artifact: Mapping[str, str], settings: ModelSettings) -> Version:
        try:
            version = self._opener.open(model, number, Path(artifact["path"]), settings, artifact["digest"])
        except ArtifactError as error:
            raise ArtifactError(f"version {number}: {error}") from error
        self._prepare_version(version)
        return version

    def _find_same(self, model: str, number: int, digest: str, settings: Json) -> Version | None:
        """Return a version that is served already as it is wanted."""
        shown, value = self._shown.get(model), self._values.get(model)
        version = shown.versions.get(number) if shown else None
        same = isinstance(value, dict) and value["settings"] == settings
        return version if version and same and version.digest == digest else None

    @staticmethod
    def _missing(old: Served | None, new: Served | None) -> list[Version]:
        """Return the versions of one that are not among those of another."""
        kept = set(new.versions.values()) if new else set()
        return [version for version in old.versions.values() if version not in kept] if old else []
