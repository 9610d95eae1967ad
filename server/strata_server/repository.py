import logging
import re
from collections.abc import Callable
from pathlib import Path

from strata_server.errors import ArtifactError, InvalidArgument, NotFound, StartError, quote, unknown
from strata_server.version import Version

ARTIFACT = "model.onnx"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_NUMBER = re.compile(r"[1-9][0-9]{0,17}")

log = logging.getLogger(__name__)


class Repository:
    """The versions that are served, by model and number."""

    def __init__(self, versions: list[Version]) -> None:
        self._models: dict[str, dict[int, Version]] = {}
        for version in sorted(versions, key=lambda version: (version.model, version.number)):
            self._models.setdefault(version.model, {})[version.number] = version

    @property
    def versions(self) -> list[Version]:
        """Every version, by name and number."""
        return [version for numbers in self._models.values() for version in numbers.values()]

    def find(self, model: str, version: str = "") -> Version:
        """Return a version of a model.

        Args:
            model: its name; empty where there is only one model.
            version: its number in decimal digits; empty for the highest.

        Raises:
            NotFound: an unknown model or version, with the nearest names.
            InvalidArgument: no model named where there are several, or a version that is no number.
        """
        numbers = self.find_all(model)
        if not version:
            return numbers[-1]
        if not _NUMBER.fullmatch(version):
            raise InvalidArgument(f"expected a version as a number from 1 up, received {quote(version)}")
        for candidate in numbers:
            if candidate.number == int(version):
                return candidate
        served = ", ".join(str(candidate.number) for candidate in numbers[-10:])
        raise NotFound(f"unknown version {version} of model {quote(numbers[0].model)}; served: {served}")

    def find_all(self, model: str) -> list[Version]:
        """Return all versions of a model, the newest last; errors as in `find`."""
        if not model and len(self._models) != 1:
            raise InvalidArgument(f"expected the name of one of {len(self._models)} models, received none")
        name = model or next(iter(self._models))
        if name not in self._models:
            raise unknown("model", name, self._models)
        return list(self._models[name].values())


def load_repository(
    folder: Path, open_version: Callable[[str, int, Path], Version], check_stop: Callable[[], None] = lambda: None
) -> Repository:
    """Return every version in a folder, `NAME/VERSION/model.onnx`, that can be served.

    One that cannot is logged with its reason, and the others are served all the same. `check_stop` is called
    before each, and may raise.

    Raises:
        StartError: there is no such folder, or nothing in it can be served.
    """
    if not folder.is_dir():
        raise StartError(f"--models: expected a folder with NAME/VERSION/{ARTIFACT} inside, received {str(folder)!r}")
    versions, reasons = [], []
    for model, number, path in find_artifacts(folder):
        check_stop()
        try:
            versions.append(open_version(model, number, path))
        except ArtifactError as error:
            reasons.append(f"model {model} version {number} cannot be served: {error}")
            log.error("%s", reasons[-1])
        except Exception:  # one bad file must not keep the others from being served
            reasons.append(f"model {model} version {number} cannot be served: loading it failed unexpectedly")
            log.exception("%s", reasons[-1])
    if not versions:
        reason = "; ".join(reasons) or f"expected NAME/VERSION/{ARTIFACT} inside, found none"
        raise StartError(f"--models {folder}: {reason}")
    return Repository(versions)


def find_artifacts(folder: Path) -> list[tuple[str, int, Path]]:
    """Return (model, number, path) for each artifact in a folder; what has another form is not one."""
    found = []
    for path in sorted(folder.glob(f"*/*/{ARTIFACT}")):
        model, number = path.parent.parent.name, path.parent.name
        if _NAME.fullmatch(model) and _NUMBER.fullmatch(number):
            found.append((model, int(number), path))
        else:
            log.warning("skipped %r: expected NAME/VERSION/%s, VERSION a number", str(path), ARTIFACT)
    return found


def warm_version(version: Version, batch_rows: int = 0) -> Version:
    """Return a version, after it has answered once and its batches were measured, or set to `batch_rows`.

    Raises:
        ArtifactError: it cannot be served; the message says why.
    """
    try:
        version.warm()
        version.measure(batch_rows)
    except ArtifactError:
        raise
    except Exception as error:  # onnxruntime has no base class for its errors
        raise ArtifactError(f"onnxruntime cannot run it: {error.__cause__ or error}") from error
    return version
