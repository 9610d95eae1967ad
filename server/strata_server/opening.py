"""From an artifact on disk to a version that is ready to run."""

from pathlib import Path

from strata_server.artifact import read_artifact
from strata_server.configuration.model_settings import ModelSettings
from strata_server.errors import ArtifactError, StartError
from strata_server.runtime import Device, Runtime
from strata_server.sessions import Sessions
from strata_server.settings import Settings, SliceSettings
from strata_server.slice_cache import SliceCache
from strata_server.version import Version


class Opener:
    """Opens versions, all on one device and with their sessions under one budget."""

    def __init__(self, settings: Settings, device: Device) -> None:
        """Make the room for sessions.

        Raises:
            StartError: the slice cache cannot be had.
        """
        self.sessions = Sessions(settings.slices.memory_bytes)
        self._settings = settings
        self._runtime = Runtime(device, threads=settings.devices.threads, spinning=settings.devices.spinning)
        self._cache = _open_cache(settings.slices) if device.name == "cpu" else None

    def open(self, model: str, number: int, path: Path, settings: ModelSettings, digest: str = "") -> Version:
        """Return a version that has answered once, its batches measured.

        Args:
            model: its name.
            number: of the version.
            path: of the artifact.
            settings: what the model's folder says.
            digest: of the artifact that is expected; empty for any.

        Raises:
            ArtifactError: it cannot be served; the message says why.
        """
        artifact = read_artifact(path, allow_external_data=self._settings.allow_external_data)
        if digest and artifact.digest != digest:
            raise ArtifactError("its file has changed since it was tried")
        version = Version(model, number, artifact, self._runtime, self.sessions, self._cache, settings)
        try:
            version.warm()
            version.measure(settings.batch_rows or self._settings.batches.rows)
        except Exception as error:
            version.is_retired = True
            self.sessions.release(version)
            if isinstance(error, ArtifactError):
                raise
            # onnxruntime has no base class for its errors
            raise ArtifactError(f"onnxruntime cannot run it: {error.__cause__ or error}") from error
        return version


def _open_cache(settings: SliceSettings) -> SliceCache | None:
    if settings.cache is None:
        return None
    try:
        return SliceCache(settings.cache, settings.cache_bytes)
    except OSError as error:
        raise StartError(f"--slice-cache {str(settings.cache)!r}: {error.strerror}") from error
