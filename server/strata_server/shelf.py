"""The versions that this process serves, as changes put them there."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from strata_server.configuration.model_settings import ModelSettings
from strata_server.control import Json, Subject, Values
from strata_server.errors import ArtifactError, Unservable
from strata_server.opening import Opener
from strata_server.repository import Repository, Served
from strata_server.version import Version

MODELS = "models"
"""The subject of changes: by the name of a model its settings, and path and digest of each version."""

Artifact = Mapping[str, str]
"""Path and digest, as changes tell them."""

log = logging.getLogger(__name__)


class Shelf(Subject):
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
            retire: lets go of a version, once nothing new comes to it; also of one that `prepare` has not finished.
        """
        self._repository = repository
        self._opener = opener
        self._prepare_version = prepare
        self._retire = retire
        self._shown: dict[str, Served] = {}
        self._prepared: dict[str, Served | None] = {}
        self._lacking: dict[str, set[str]] = {}
        """By model: digests of versions that the other processes serve, and this one could not open when it started."""

    @property
    def lacks(self) -> bool:
        """Whether the other processes serve what this one does not."""
        return any(self._lacking.values())

    def prepare(self, values: Values) -> None:
        """Open the versions of models that are new.

        Raises:
            Unservable: one cannot be served here; it says which.
        """
        for model, value in values.items():
            opened: dict[int, Version] = {}
            try:
                self._prepared[model] = self._open_model(model, value, opened)
            except Exception:
                self._prepared[model] = Served(model, opened)
                self.abandon(values)
                raise

    def commit(self, values: Values) -> None:
        """Serve them, in place of those before."""
        models = {model: self._prepared.pop(model) for model in values}
        gone = [old for model, new in models.items() for old in _subtract(self._shown.get(model), new)]
        for version in gone:
            version.is_retired = True  # first: what remembers versions looks at it
        for model in values:
            self._forget_lacking(model, values[model])
        self._repository.publish({model: each if each and each.versions else None for model, each in models.items()})
        for model, served in models.items():
            if served:
                self._shown[model] = served
            else:
                self._shown.pop(model, None)
        for version in gone:
            self._retire(version)

    def abandon(self, values: Values) -> None:
        """Let go of what was opened."""
        for model in values:
            new = self._prepared.pop(model, None)
            for version in _subtract(new, self._shown.get(model)):
                version.is_retired = True
                self._retire(version)

    def restore(self, model: str, value: Json) -> None:
        """Serve what the others serve of a model, as far as it can be opened here; the log says what cannot."""
        told: dict[str, Any] = value if isinstance(value, dict) else {"settings": None, "versions": {}}
        settings, opened = ModelSettings.read(told["settings"]), dict[int, Version]()
        for number, artifact in _in_order(told["versions"]):
            try:
                self._open_version(model, number, artifact, settings, opened)
            except Unservable as error:
                log.error("model %s: this worker lacks what the others serve: %s", model, error)
                self._lacking.setdefault(model, set()).add(artifact["digest"])
                unfinished = opened.pop(number, None)
                if unfinished:
                    unfinished.is_retired = True
                    self._retire(unfinished)
        self._prepared[model] = Served(model, opened, settings)
        self.commit({model: value})

    def _forget_lacking(self, model: str, value: Json) -> None:
        """Forget what was lacking of a model and is not served any more."""
        told: dict[str, Any] = value if isinstance(value, dict) else {"versions": {}}
        wanted = {artifact["digest"] for artifact in told["versions"].values()}
        self._lacking[model] = self._lacking.get(model, set()) & wanted
        if not self._lacking[model]:
            del self._lacking[model]

    def _open_model(self, model: str, value: Json, opened: dict[int, Version]) -> Served | None:
        """Return a model with its versions; those that are opened are noted one by one."""
        if not isinstance(value, dict):
            return None
        told: dict[str, Any] = value
        settings = ModelSettings.read(told["settings"])
        for number, artifact in _in_order(told["versions"]):
            kept = self._find_same(model, number, artifact["digest"], settings)
            if kept:
                opened[number] = kept
            elif artifact["digest"] not in self._lacking.get(model, set()):
                self._open_version(model, number, artifact, settings, opened)
        return Served(model, opened, settings)

    def _open_version(
        self, model: str, number: int, artifact: Artifact, settings: ModelSettings, opened: dict[int, Version]
    ) -> None:
        """Open a version and note it, before anything else is done with it."""
        try:
            opened[number] = self._opener.open(model, number, Path(artifact["path"]), settings, artifact["digest"])
            self._prepare_version(opened[number])
        except ArtifactError as error:
            raise Unservable(f"version {number}: {error}", number) from error
        except Exception as error:
            log.exception("model %s version %d cannot be opened", model, number)
            raise Unservable(f"version {number}: opening it failed unexpectedly", number) from error

    def _find_same(self, model: str, number: int, digest: str, settings: ModelSettings) -> Version | None:
        """Return a version that is served already as it is wanted."""
        shown = self._shown.get(model)
        version = shown.versions.get(number) if shown else None
        is_same = shown and shown.settings.of_versions == settings.of_versions
        return version if version and is_same and version.digest == digest else None


def _in_order(versions: Mapping[str, Artifact]) -> list[tuple[int, Artifact]]:
    return sorted(((int(number), artifact) for number, artifact in versions.items()), key=lambda each: each[0])


def _subtract(old: Served | None, new: Served | None) -> list[Version]:
    """Return the versions of one that are not among those of another."""
    kept = set(new.versions.values()) if new else set()
    return [version for version in old.versions.values() if version not in kept] if old else []
