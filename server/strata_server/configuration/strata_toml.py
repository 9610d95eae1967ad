"""strata.toml, this project's own configuration of a model."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from strata_server.configuration.fields import (
    MOST_ROWS,
    MOST_WAIT_US,
    check_count,
    check_labels,
    check_latest,
    check_names,
    check_numbers,
    quote_value,
    shorten,
)
from strata_server.configuration.folder import read_classes
from strata_server.configuration.model_settings import ModelSettings, VersionPolicy
from strata_server.errors import ArtifactError

FILE = "strata.toml"
FIELDS = ("versions", "labels", "label_file", "batch", "parameters")
BATCH_FIELDS = ("rows", "wait_us")


def read_strata_toml(folder: Path, text: str) -> ModelSettings:
    """Return what a strata.toml says.

    Args:
        folder: the model's, where a label file may lie.
        text: the file's.

    Raises:
        ArtifactError: naming the field, what was expected and what was received.
    """
    table = _parse(text)
    check_names(f"{FILE}: ", table, FIELDS)
    batch = _table("batch", table.get("batch", {}))
    check_names(f"{FILE}: batch: ", batch, BATCH_FIELDS)
    return ModelSettings(
        declared_in=FILE,
        versions=_read_policy(table.get("versions", "all")),
        labels=check_labels(f"{FILE}: labels", _table("labels", table.get("labels", {}))),
        batch_rows=check_count(f"{FILE}: batch.rows", batch.get("rows", 0), 0, MOST_ROWS),
        batch_wait_us=_read_wait_us(batch),
        classes=_read_classes(folder, table),
        label_file=str(table.get("label_file", "")),
        parameters=_read_parameters(_table("parameters", table.get("parameters", {}))),
    )


def _parse(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        # Beside what is no TOML: a number of thousands of digits, and brackets within brackets without end.
        raise ArtifactError(f"{FILE}: it is not TOML: {shorten(str(error))}") from error


def _table(field: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ArtifactError(f"{FILE}: {field}: expected a table, received {quote_value(value)}")
    return value


def _read_policy(value: object) -> VersionPolicy:
    if value == "all":
        return VersionPolicy()
    if isinstance(value, list):
        return VersionPolicy(specific=check_numbers(f"{FILE}: versions", value))
    if isinstance(value, dict) and value.keys() == {"latest"}:
        return VersionPolicy(latest=check_latest(f"{FILE}: versions.latest", value["latest"]))
    raise ArtifactError(
        f'{FILE}: versions: expected "all", {{ latest = 2 }} or a list such as [1, 3], received {quote_value(value)}'
    )


def _read_wait_us(batch: Mapping[str, Any]) -> int | None:
    if "wait_us" not in batch:
        return None
    return check_count(f"{FILE}: batch.wait_us", batch["wait_us"], 0, MOST_WAIT_US)


def _read_classes(folder: Path, table: Mapping[str, Any]) -> tuple[str, ...]:
    if "label_file" not in table:
        return ()
    return read_classes(folder, _text("label_file", table["label_file"]), f"{FILE}: label_file")


def _read_parameters(parameters: Mapping[str, Any]) -> dict[str, str]:
    return {name: _text(f"parameters.{name}", value) for name, value in parameters.items()}


def _text(field: str, value: object) -> str:
    if not isinstance(value, str):
        raise ArtifactError(f"{FILE}: {field}: expected a text in quotes, received {quote_value(value)}")
    return value
