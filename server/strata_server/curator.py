"""Decides which versions are served: those the repository holds, a model's settings choose, and a trial has passed.

What is served goes on until what replaces it has been opened everywhere. What cannot be served is refused with a
reason, and tried again when its files have changed.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from strata_server.configuration.model_settings import ModelSettings
from strata_server.configuration.sources import read_model_settings
from strata_server.control import Change, Json, Listed
from strata_server.coordination import Coordinator
from strata_server.errors import ArtifactError, PermissionDenied, StartError, StrataError, Unservable, unknown
from strata_server.layout import Fingerprint, Found, FoundModel, Listing, scan
from strata_server.settings import Settings
from strata_server.shelf import MODELS
from strata_server.trials import Trials, Verdict

# What is still being written is left for the next look: its files differ after so long.
_SETTLED_S = 0.1

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Version:
    """A version that is served."""

    fingerprint: Fingerprint
    artifact: Mapping[str, Json]
    """Its path and digest, as changes tell them."""


@dataclass(frozen=True)
class _Model:
    """What is known of a model."""

    settings: ModelSettings = field(default_factory=ModelSettings)
    settings_fingerprint: Fingerprint | None = None
    served: Mapping[int, _Version] = field(default_factory=dict)
    refused: Mapping[int, tuple[Fingerprint, str]] = field(default_factory=dict)
    """By number: the files that were refused, and why."""
    loading: int = 0
    """The number of the version that is being tried."""
    problem: str = ""
    """Why nothing newer of it can be served."""
    is_unloaded: bool = False

    @property
    def value(self) -> Json:
        """Return it as changes tell it."""
        if not self.served:
            return None
        versions: dict[str, Json] = {str(number): dict(each.artifact) for number, each in self.served.items()}
        return {"settings": self.settings.write(), "versions": versions}

    def refuse(self, found: Found, reason: str) -> "_Model":
        """Return it with a version refused."""
        return replace(self, refused={**self.refused, found.number: (found.fingerprint, reason)})

    def has_refused(self, found: Found) -> bool:
        """Say whether the files of a version are those that were refused."""
        return self.refused.get(found.number, (None, ""))[0] == found.fingerprint

    def serves(self, found: Found) -> bool:
        """Say whether the files of a version are those that are served."""
        served = self.served.get(found.number)
        return served is not None and served.fingerprint == found.fingerprint


class Curator:
    """Looks after the models; but for `index` all of it is called on the coordinator's thread."""

    def __init__(self, settings: Settings, coordinator: Coordinator, trials: Trials) -> None:
        self._settings = settings
        self._coordinator = coordinator
        self._trials = trials
        self._models: dict[str, _Model] = {}
        self._told: frozenset[str] = frozenset()

    def begin(self, check_stop: Callable[[], None]) -> None:
        """Serve what the repository holds at the start.

        Args:
            check_stop: called before each model; may raise.

        Raises:
            StartError: there is no repository, or a fixed one with nothing that can be served.
        """
        listing = scan(self._settings.models)
        for found in listing.models.values():
            check_stop()
            self._refresh(found.name, found)
        self._tell_skipped(listing)
        if self._settings.repository == "fixed" and not any(model.served for model in self._models.values()):
            reasons = "; ".join(f"model {each.model} {each.reason}" for each in self.index())
            expected = "expected NAME/VERSION/model.onnx inside, found none"
            raise StartError(f"--models {self._settings.models}: {reasons or expected}")

    def look(self) -> bool:
        """Serve what the repository holds now; what cannot be served stands in the index with the reason.

        Returns:
            Whether something is still being written, and another look is wanted soon.
        """
        listing = scan(self._settings.models)
        before = listing.models
        if not all(map(self._is_known, before.values())):
            time.sleep(_SETTLED_S)
            listing = scan(self._settings.models)
        is_settled = True
        for name in sorted({*listing.models, *self._models}):
            now = listing.models.get(name)
            settled = self._settle(before.get(name), now) if now else None
            is_settled = is_settled and settled == now
            if settled or not now:
                self._refresh(name, settled)
        self._tell_skipped(listing)
        return not is_settled

    def load(self, model: str) -> None:
        """Serve what the repository holds of a model now.

        Raises:
            PermissionDenied: the server is not set up for it.
            NotFound: the repository has no such model.
            Unservable: a version that is to be served cannot be; the others are served.
        """
        self._check_explicit("load")
        listing = scan(self._settings.models)
        found = listing.models.get(model)
        if not found:
            raise unknown("model", model, listing.models)
        self._models[model] = replace(self._models.get(model, _Model()), refused={}, problem="", is_unloaded=False)
        self._refresh(model, found)
        reasons = list(_find_reasons(self._models[model]))
        if reasons:
            raise Unservable(f"model {model} cannot be served as the repository has it: {'; '.join(reasons)}")

    def unload(self, model: str) -> None:
        """Serve a model no longer.

        Raises:
            PermissionDenied: the server is not set up for it.
            NotFound: no such model is served.
        """
        self._check_explicit("unload")
        known = self._models.get(model)
        if not known or not known.served:
            raise unknown("model", model, [name for name, each in self._models.items() if each.served])
        self._show(model, replace(known, served={}, is_unloaded=True))

    def index(self) -> list[Listed]:
        """Return every version in the repository, and why those are not served that are not; from any thread."""
        models = dict(self._models)
        try:
            listing = scan(self._settings.models)
        except StartError as error:
            listing = Listing({}, (str(error),))
        return [
            listed
            for name in sorted({*listing.models, *models})
            for listed in self._list(name, models.get(name, _Model()), listing.models.get(name))
        ]

    def _list(self, name: str, model: _Model, found: FoundModel | None) -> Iterator[Listed]:
        problem = model.problem or (found.problem if found else "")
        if problem:
            yield Listed(name, "", "UNAVAILABLE", problem)
        lying = found.versions if found else {}
        chosen = model.settings.versions.choose(lying)
        for number in sorted({*model.served, *lying}):
            refused_files, refusal = model.refused.get(number, ((), ""))
            is_refused = number in lying and refused_files == lying[number].fingerprint
            if number in model.served:
                yield Listed(name, str(number), "READY", f"its newer files are refused: {refusal}" if refusal else "")
            elif is_refused:
                yield Listed(name, str(number), "UNAVAILABLE", refusal)
            elif number not in chosen:
                yield Listed(name, str(number), "UNAVAILABLE", "not chosen by its model's settings")
            elif number == model.loading or self._settings.repository == "watch":  # at the next look
                yield Listed(name, str(number), "LOADING")
            else:
                yield Listed(name, str(number), "UNAVAILABLE", "unloaded" if model.is_unloaded else "not loaded")

    def _check_explicit(self, what: str) -> None:
        if self._settings.repository != "explicit":
            raise PermissionDenied(
                f"to {what} a model is not allowed: the server was started with --repository "
                f"{self._settings.repository}; expected explicit"
            )

    def _is_known(self, found: FoundModel) -> bool:
        model = self._models.get(found.name, _Model())
        return found.fingerprint == model.settings_fingerprint and all(
            model.serves(version) or model.has_refused(version) for version in found.versions.values()
        )

    def _settle(self, before: FoundModel | None, now: FoundModel) -> FoundModel | None:
        """Return a model without what is new and still being written; None where that are its settings."""
        if before is None or before.fingerprint != now.fingerprint:
            return None
        served = self._models.get(now.name, _Model()).served
        versions = {}
        for number, found in now.versions.items():
            if found == before.versions.get(number):
                versions[number] = found
            elif number in served:
                versions[number] = replace(found, fingerprint=served[number].fingerprint)
        return replace(now, versions=versions)

    def _refresh(self, name: str, found: FoundModel | None) -> None:
        """Serve what the repository holds of a model."""
        if found is None:
            self._show(name, None)
            return
        model = self._models.setdefault(name, _Model())
        try:
            model = self._read_settings(model, found)
            model = self._choose(model, found)
        except ArtifactError as error:
            if model.problem != str(error):
                log.error("model %s: nothing new of it is served: %s", name, error)
            self._models[name] = replace(model, problem=str(error), settings_fingerprint=found.fingerprint)
            return
        self._show(name, model)

    def _read_settings(self, model: _Model, found: FoundModel) -> _Model:
        """Return a model with its settings as they are now; what was refused under others is tried again."""
        if found.problem:
            raise ArtifactError(found.problem)
        if found.fingerprint == model.settings_fingerprint and not model.problem:
            return model
        settings = read_model_settings(found.folder)
        return replace(model, settings=settings, settings_fingerprint=found.fingerprint, refused={}, problem="")

    def _choose(self, model: _Model, found: FoundModel) -> _Model:
        """Return a model with those versions that the settings choose, each of which has passed a trial."""
        model = replace(model, refused={n: each for n, each in model.refused.items() if n in found.versions})
        passed: dict[int, _Version] = {}
        while True:
            # What is refused does not count, but where the files before are served and go on.
            able = [n for n, each in found.versions.items() if n in model.served or not model.has_refused(each)]
            chosen = model.settings.versions.choose(able)
            wanted = [found.versions[n] for n in chosen if n not in passed and not model.has_refused(found.versions[n])]
            untried = [each for each in wanted if not self._serves(model, each)]
            if not untried:
                break
            for version in untried:
                model = self._try(model, version, passed)
        served = {n: passed[n] if n in passed else model.served[n] for n in chosen}
        if not served and found.versions:
            return model  # whatever was served goes on
        return replace(model, served=served)

    def _serves(self, model: _Model, found: Found) -> bool:
        before = self._models[found.model]
        return model.serves(found) and before.settings == model.settings

    def _try(self, model: _Model, found: Found, passed: dict[int, _Version]) -> _Model:
        """Try a version; return the model, with it among the refused if it cannot be served."""
        self._models[found.model] = replace(self._models[found.model], loading=found.number)
        verdict = Verdict(reason=found.problem)
        if not found.problem:
            verdict = self._trials.run(found.model, found.number, found.path, model.settings.write())
        if verdict.reason:
            log.error("model %s version %d cannot be served: %s", found.model, found.number, verdict.reason)
            return model.refuse(found, verdict.reason)
        passed[found.number] = _Version(found.fingerprint, {"path": str(found.path), "digest": verdict.digest})
        return model

    def _show(self, name: str, model: _Model | None) -> None:
        """Serve a model as it is now, in all processes."""
        before = self._models.get(name, _Model())
        value = model.value if model else None
        if value != before.value:
            try:
                self._coordinator.make(Change(MODELS, {name: value}))
            except StrataError as error:
                log.error("model %s: what was served goes on: %s", name, error)
                self._models[name] = self._refuse_new(before, model, str(error))
                return
            log.info("model %s: %s", name, _describe(model))
            _tell_missing(name, model)
        if model:
            self._models[name] = replace(model, loading=0)
        else:
            self._models.pop(name, None)

    @staticmethod
    def _refuse_new(before: _Model, model: _Model | None, reason: str) -> _Model:
        """Return a model as it was, with those versions refused that could not be opened."""
        new = model.served if model else {}
        refused = {n: (each.fingerprint, reason) for n, each in new.items() if each != before.served.get(n)}
        return replace(before, refused={**before.refused, **refused}, loading=0)

    def _tell_skipped(self, listing: Listing) -> None:
        """Log once what looks like a model and has no name of one."""
        for skipped in sorted(set(listing.skipped) - self._told):
            log.warning("skipped %s", skipped)
        self._told = frozenset(listing.skipped)


def _find_reasons(model: _Model) -> Iterator[str]:
    if model.problem:
        yield model.problem
    for number, (_, reason) in sorted(model.refused.items()):
        yield f"version {number}: {reason}"


def _tell_missing(name: str, model: _Model | None) -> None:
    """Log which versions the settings name that are not served."""
    if not model or not model.served:
        return
    for number in model.settings.versions.find_missing(model.served):
        log.warning("model %s: its settings name version %d, which is not served", name, number)
    for label, number in model.settings.find_missing(model.served).items():
        log.warning("model %s: its label %s is version %d, which is not served", name, label, number)


def _describe(model: _Model | None) -> str:
    if not model or not model.served:
        return "served no more"
    return f"served: {', '.join(map(str, sorted(model.served)))}"
