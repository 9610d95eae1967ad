"""The versions that are served: requests find them here, and they change while requests run."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from strata_server.configuration.model_settings import ModelSettings
from strata_server.errors import InvalidArgument, NotFound, quote, unknown
from strata_server.version import Version

_NUMBER = re.compile(r"[1-9][0-9]{0,17}")


@dataclass(frozen=True)
class Served:
    """A model, and those of its versions that are served."""

    name: str
    versions: Mapping[int, Version]
    """By number, ascending; at least one."""
    settings: ModelSettings = field(default_factory=ModelSettings)
    """What its folder says."""


class Repository:
    """The models that are served, by name."""

    def __init__(self, versions: Iterable[Version] = ()) -> None:
        """Serve some versions from the first."""
        found: dict[str, dict[int, Version]] = {}
        for version in sorted(versions, key=lambda version: (version.model, version.number)):
            found.setdefault(version.model, {})[version.number] = version
        self._models: Mapping[str, Served] = {name: Served(name, numbers) for name, numbers in found.items()}
        self._followers: list[Callable[[], None]] = []
        self.edition = 0
        """Counts the changes: what was found under one edition may be something else under another."""

    @property
    def versions(self) -> list[Version]:
        """Every version, by name and number."""
        return [version for model in self._models.values() for version in model.versions.values()]

    def follow(self, forget: Callable[[], None]) -> None:
        """Call something after each change, before whoever asked for the change is answered."""
        self._followers.append(forget)

    def publish(self, models: Mapping[str, Served | None]) -> None:
        """Serve some models from now on, in place of what was served under their names; None for none."""
        changed = {**self._models, **models}
        # One assignment: a request finds the old or the new, and nothing between.
        self._models = {name: model for name, model in sorted(changed.items()) if model}
        self.edition += 1
        for forget in self._followers:
            forget()

    def find(self, model: str, version: str = "") -> Version:
        """Return a version of a model.

        Args:
            model: its name; empty where there is only one model.
            version: its number in decimal digits, or a label; empty for the highest.

        Raises:
            NotFound: an unknown model, version or label, with the nearest names.
            InvalidArgument: no model named where there are several, or a version that is no number and no label.
        """
        served = self.find_model(model)
        if not version:
            return served.versions[max(served.versions)]
        number = served.settings.labels.get(version)
        if number is None:
            if not _NUMBER.fullmatch(version):
                raise _no_version(served, version)
            number = int(version)
        if number in served.versions:
            return served.versions[number]
        numbers = ", ".join(str(each) for each in list(served.versions)[-10:])
        label = f", which is the label {quote(version)}," if version in served.settings.labels else ""
        raise NotFound(f"unknown version {number}{label} of model {quote(served.name)}; served: {numbers}")

    def find_all(self, model: str) -> list[Version]:
        """Return all versions of a model, the newest last; errors as in `find_model`."""
        return list(self.find_model(model).versions.values())

    def find_model(self, model: str) -> Served:
        """Return a model by its name; an empty one stands for the only model.

        Raises:
            NotFound: it is unknown.
            InvalidArgument: none is named where there are several.
        """
        models = self._models
        if not model and len(models) != 1:
            raise InvalidArgument(f"expected the name of one of {len(models)} models, received none")
        name = model or next(iter(models))
        if name not in models:
            raise unknown("model", name, models)
        return models[name]


def _no_version(served: Served, version: str) -> InvalidArgument | NotFound:
    if served.settings.labels and version[:1].isalpha():
        return unknown("label", version, served.settings.labels)
    return InvalidArgument(f"expected a version as a number from 1 up, received {quote(version)}")
