"""Decides which versions are served: those the repository holds, a model's settings choose, and a trial has passed.

What is served goes on until what replaces it has been opened everywhere. What cannot be served is refused with a
reason, and tried again when its files have changed.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from strata_server.configuration.model_settings import ModelSettings
from strata_server.configuration.sources import FILES, read_model_settings
from strata_server.control import Change, Json, Listed
from strata_server.coordination import Coordinator
from strata_server.errors import ArtifactError, Draining, PermissionDenied, StartError, Unservable, unknown
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
    """With which its versions are served."""
    settings_print: Fingerprint | None = None
    """Of the files that were read for them; None where they are to be read anew."""
    served: Mapping[int, _Version] = field(default_factory=dict)
    refused: Mapping[int, tuple[Fingerprint, str]] = field(default_factory=dict)
    """By number: the files that were refused, and why."""
    loading: int = 0
    """The number of the version that is being tried."""
    problem: str = ""
    """Why it is not served as the repository has it now."""
    is_unloaded: bool = False

    @property
    def value(self) -> Json:
        """Return it as changes tell it."""
        if not self.served:
            return None
        versions: dict[str, Json] = {str(number): dict(each.artifact) for number, each in self.served.items()}
        return {"settings": self.settings.write(), "versions": versions}

    def refuse(self, number: int, fingerprint: Fingerprint, reason: str) -> "_Model":
        """Return it with the files of a version refused."""
        return replace(self, refused={**self.refused, number: (fingerprint, reason)})

    def accept(self, number: int) -> "_Model":
        """Return it with nothing against a version."""
        return replace(self, refused={each: why for each, why in self.refused.items() if each != number})

    def has_refused(self, found: Found) -> bool:
        """Say whether the files of a version are those that were refused."""
        return self.refused.get(found.number, (None, ""))[0] == found.fingerprint

    def serves(self, found: Found) -> bool:
        """Say whether the files of a version are those that are served."""
        served = self.served.get(found.number)
        return served is not None and served.fingerprint == found.fingerprint


class Curator:
    """Looks after the models; but for `index` all of it is called on one thread."""

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
            self._refresh(found)
        self._tell_skipped(listing)
        if self._settings.repository == "fixed" and not any(model.served for model in self._models.values()):
            check_stop()  # which may be why
            expected = "expected NAME/VERSION/model.onnx inside, found none"
            raise StartError(f"--models {self._settings.models}: {'; '.join(self._explain_all()) or expected}")

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
            if now is None:
                self._remove(name)
                continue
            settled = self._settle(before.get(name), now)
            is_settled = is_settled and settled == now
            if settled:
                self._refresh(settled)
        self._tell_skipped(listing)
        return not is_settled

    def load(self, model: str) -> None:
        """Serve what the repository holds of a model now.

        Raises:
            PermissionDenied: the server is not set up for it.
            NotFound: the repository has no such model.
            Unservable: it is not served as the repository has it; versions that can be served are.
        """
        self._check_explicit("load")
        listing = scan(self._settings.models)
        found = listing.models.get(model)
        if not found:
            raise unknown("model", model, listing.models)
        known = self._models.get(model, _Model())
        self._models[model] = replace(known, refused={}, problem="", settings_print=None, is_unloaded=False)
        self._refresh(found)
        reasons = list(_find_reasons(self._models[model]))
        if not reasons and not self._models[model].served:
            reasons = ["it has no version that can be served"]
        if reasons:
            raise Unservable(f"model {model} cannot be served as the repository has it: {'; '.join(reasons)}")

    def unload(self, model: str) -> None:
        """Serve a model no longer.

        Raises:
            PermissionDenied: the server is not set up for it.
            NotFound: no such model is served.
            Unservable: the processes could not be told.
        """
        self._check_explicit("unload")
        known = self._models.get(model)
        if not known or not known.served:
            raise unknown("model", model, [name for name, each in self._models.items() if each.served])
        error = self._show(model, replace(known, served={}, is_unloaded=True))
        if error:
            raise error

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
            is_refused = number in lying and model.has_refused(lying[number])
            reason = model.refused[number][1] if is_refused else ""
            if number in model.served:
                yield Listed(name, str(number), "READY", reason and f"its newer files are refused: {reason}")
            elif is_refused:
                yield Listed(name, str(number), "UNAVAILABLE", reason)
            elif number not in chosen:
                yield Listed(name, str(number), "UNAVAILABLE", "not chosen by its model's settings")
            elif number == model.loading or (self._settings.repository == "watch" and not problem):
                yield Listed(name, str(number), "LOADING")  # now, or at the next look
            else:
                yield Listed(name, str(number), "UNAVAILABLE", "unloaded" if model.is_unloaded else "not loaded")

    def _explain_all(self) -> Iterator[str]:
        """Say of each version in the repository why it is not served."""
        for each in self.index():
            version = f" version {each.version} cannot be served:" if each.version else ":"
            yield f"model {each.model}{version} {each.reason}"

    def _check_explicit(self, what: str) -> None:
        if self._settings.repository != "explicit":
            raise PermissionDenied(
                f"to {what} a model is not allowed: the server was started with --repository "
                f"{self._settings.repository}; expected explicit"
            )

    def _is_known(self, found: FoundModel) -> bool:
        """Say whether a look would find nothing new of a model."""
        model = self._models.get(found.name, _Model())
        chosen = {*model.settings.versions.choose(found.versions), *model.served}
        return _print_settings(found, model.settings) == model.settings_print and all(
            number in found.versions
            and (model.serves(found.versions[number]) or model.has_refused(found.versions[number]))
            for number in chosen
        )

    def _settle(self, before: FoundModel | None, now: FoundModel) -> FoundModel | None:
        """Return a model without what is new and still being written; None where that are its settings."""
        model = self._models.get(now.name, _Model())
        if before is None or _print_settings(before, model.settings) != _print_settings(now, model.settings):
            return None
        versions = {}
        for number, found in now.versions.items():
            if found == before.versions.get(number):
                versions[number] = found
            elif number in model.served:
                versions[number] = replace(found, fingerprint=model.served[number].fingerprint)
        return replace(now, versions=versions)

    def _refresh(self, found: FoundModel) -> None:
        """Serve what the repository holds of a model; where that cannot be, what was served goes on."""
        known = self._models.setdefault(found.name, _Model())
        passed: dict[int, _Version] = {}
        try:
            model = self._read_settings(known, found)
            while True:
                model = self._choose(model, found, passed)
                error = self._show(found.name, model, len(passed))
                if error is None:
                    return
                model = _blame(model, passed, error)
        except ArtifactError as error:
            if known.problem != str(error):
                log.error("model %s: what was served goes on: %s", found.name, error)
            settings_print = _print_settings(found, known.settings)
            refused = self._models[found.name].refused
            self._models[found.name] = replace(
                known, problem=str(error), settings_print=settings_print, refused=refused, loading=0
            )

    def _remove(self, name: str) -> None:
        """Serve a model no longer that the repository does not hold any more."""
        if self._show(name, None) is None:
            self._models.pop(name, None)

    def _read_settings(self, model: _Model, found: FoundModel) -> _Model:
        """Return a model with its settings as they are now; what was refused under others is tried again."""
        if found.problem:
            raise ArtifactError(found.problem)
        if not model.problem and _print_settings(found, model.settings) == model.settings_print:
            return model
        settings = read_model_settings(found.folder)
        refused = model.refused if settings.of_versions == model.settings.of_versions else {}
        settings_print = _print_settings(found, settings)
        return replace(model, settings=settings, settings_print=settings_print, refused=refused, problem="")

    def _choose(self, model: _Model, found: FoundModel, passed: dict[int, _Version]) -> _Model:
        """Return a model with those versions that the settings choose, each of which has passed a trial.

        Args:
            model: with its settings as they are now.
            found: what the repository holds of it.
            passed: the versions that have passed a trial just now; more are added.

        Raises:
            ArtifactError: nothing that is chosen can be served, or a version that is served cannot be with the
                settings as they are now.
        """
        before = self._models[found.name]
        model = replace(model, refused={n: each for n, each in model.refused.items() if n in found.versions})
        is_same = before.settings.of_versions == model.settings.of_versions
        kept = before.served if is_same else {}
        while True:
            # What is refused does not count, but where the files before are served and go on.
            able = [n for n, each in found.versions.items() if n in kept or not model.has_refused(each)]
            chosen = model.settings.versions.choose(able)
            untried = [
                found.versions[n]
                for n in chosen
                if n not in passed
                and not model.has_refused(found.versions[n])
                and not (is_same and before.serves(found.versions[n]))
            ]
            if not untried:
                break
            for version in untried:
                model = self._try(model, version, passed)
                self._models[found.name] = replace(self._models[found.name], refused=model.refused)
        served = {n: passed[n] if n in passed else kept[n] for n in chosen}
        lost = [n for n in before.served if n in model.refused and n not in served]
        if not is_same and lost:
            reasons = "; ".join(f"version {n}: {model.refused[n][1]}" for n in lost)
            raise ArtifactError(f"its settings are refused: {reasons}")
        if not served and found.versions and before.served:
            raise ArtifactError("its settings choose no version that can be served")
        return replace(model, served=served)

    def _try(self, model: _Model, found: Found, passed: dict[int, _Version]) -> _Model:
        """Try a version; return the model, with it among the refused if it cannot be served."""
        self._models[found.model] = replace(self._models[found.model], loading=found.number)
        verdict = Verdict(reason=found.problem)
        if not found.problem:
            verdict = self._trials.run(found.model, found.number, found.path, model.settings.write())
        if verdict.reason:
            log.error("model %s version %d cannot be served: %s", found.model, found.number, verdict.reason)
            return model.refuse(found.number, found.fingerprint, verdict.reason)
        passed[found.number] = _Version(found.fingerprint, {"path": str(found.path), "digest": verdict.digest})
        return model.accept(found.number)

    def _show(self, name: str, model: _Model | None, new: int = 0) -> Exception | None:
        """Serve a model as it is now, with so many versions to open, in all processes; return why that cannot be."""
        before = self._models.get(name, _Model())
        value = model.value if model else None
        if value != before.value:
            patience_s = self._settings.load_timeout_s * float(new)
            try:
                self._coordinator.make(Change(MODELS, {name: value}, patience_s))
            except Exception as error:  # noqa: BLE001 - whatever it is, what was served goes on
                log.error("model %s: what was served goes on: %s", name, error)
                return error
            log.info("model %s: %s", name, _describe(model))
            _tell_missing(name, model)
        if model:
            self._models[name] = replace(model, loading=0)
        return None

    def _tell_skipped(self, listing: Listing) -> None:
        """Log once what looks like a model and has no name of one."""
        for skipped in sorted(set(listing.skipped) - self._told):
            log.warning("skipped %s", skipped)
        self._told = frozenset(listing.skipped)


def _print_settings(found: FoundModel, settings: ModelSettings) -> Fingerprint:
    """Return the fingerprint of the files that say how a model is served, without whatever else lies beside them."""
    names = {*FILES, settings.label_file}
    return tuple(each for each in found.fingerprint if each[0] in names)


def _blame(model: _Model, passed: dict[int, _Version], error: Exception) -> _Model:
    """Return a model with those of the new versions refused that a process could not open.

    Raises:
        ArtifactError: it was none of them.
    """
    number = error.number if isinstance(error, Unservable) else 0
    guilty = [number] if number else list(passed)
    if isinstance(error, Draining) or not passed.keys() >= set(guilty) or not guilty:
        raise ArtifactError(str(error)) from error
    reason = str(error).removeprefix(f"version {number}: ")
    for each in guilty:
        model = model.refuse(each, passed.pop(each).fingerprint, reason)
    return model


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
