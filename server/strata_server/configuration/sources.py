"""A model's settings, from whichever file its folder has."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from strata_server.configuration import config_pbtxt, strata_toml
from strata_server.configuration.folder import read_text
from strata_server.configuration.model_settings import ModelSettings
from strata_server.errors import ArtifactError

_READERS: Mapping[str, Callable[[Path, str], ModelSettings]] = MappingProxyType(
    {strata_toml.FILE: strata_toml.read_strata_toml, config_pbtxt.FILE: config_pbtxt.read_config_pbtxt}
)
FILES = tuple(_READERS)
"""Names of the files that may say how a model is served."""


def read_model_settings(folder: Path) -> ModelSettings:
    """Return what a model's folder says of how its versions are served.

    Args:
        folder: `models/NAME`; nothing is read outside it.

    Raises:
        ArtifactError: naming file and field, what was expected and what was received.
    """
    texts = {name: text for name in FILES if (text := read_text(folder, name)) is not None}
    if len(texts) > 1:
        raise ArtifactError(f"expected {' or '.join(FILES)}, received both")
    for name, text in texts.items():
        return _READERS[name](folder, text)
    return ModelSettings()
