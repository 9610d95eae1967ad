"""JSON documents for machines: what `--json` prints."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from strata_client.activity import Array, measure
from strata_client.catalog import Description
from strata_client.errors import StrataError
from strata_client.predictions import Predictions


def write(document: Any) -> str:
    """Return the text of a document: ASCII alone, so that no name in it can harm a terminal."""
    return json.dumps(_plain(document), indent=2, allow_nan=False)


def describe(description: Description) -> dict[str, Any]:
    """Return all that is known of a model."""
    return asdict(description)


def describe_answer(file: str, answer: Predictions) -> dict[str, Any]:
    """Return the answer for one file."""
    labels = [asdict(label) for label in answer[0].labels]
    return {"file": file, "model": answer.model, "version": answer.version, "labels": labels}


def describe_failure(file: str, error: Exception, text: str) -> dict[str, Any]:
    """Return why there is no answer for one file; a file that cannot be read has no code of the server's."""
    code = error.code if isinstance(error, StrataError) else "UNREADABLE"
    return {"file": file, "error_code": code, "error": text}


def describe_activations(file: str, description: Description, activations: Mapping[str, Array]) -> dict[str, Any]:
    """Return the figures of each layer; the values themselves are what --save is for."""
    return {
        "file": file,
        "model": description.name,
        "version": description.version,
        "layers": [_describe_activation(name, values) for name, values in activations.items()],
    }


def _describe_activation(name: str, values: Array) -> dict[str, Any]:
    activity = measure(values)
    return {
        "name": name,
        "shape": list(values.shape),
        "dtype": values.dtype,
        "min": activity.smallest,
        "mean": activity.mean,
        "max": activity.largest,
        "zero_share": activity.zero_share,
        "channels": activity.channel_count,
        "dead_channels": activity.dead_count,
        "nan_count": activity.nan_count,
        "infinite_count": activity.infinite_count,
    }


def _plain(value: Any) -> Any:
    """Return a value in JSON's own types: it has no NaN, no infinities and no dtypes."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.dtype):
        return value.name
    return None if isinstance(value, float) and not math.isfinite(value) else value
