"""JSON documents for machines: what `--json` prints."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from strata_client.activity import Array
from strata_client.catalog import Description
from strata_client.differences import Difference, Differences
from strata_client.inspection import Inspection
from strata_client.predictions import Prediction, Predictions
from strata_client.reductions import NONE, Reduction


def write(document: Any) -> str:
    """Return the text of a document: ASCII alone, so that no name in it can harm a terminal."""
    return json.dumps(_plain(document), indent=2, allow_nan=False)


def show(document: Any) -> None:
    """Print a document to standard output."""
    print(write(document), flush=True)


def describe(description: Description) -> dict[str, Any]:
    """Return all that is known of a model."""
    return asdict(description)


def describe_answers(file: str, answer: Predictions) -> list[dict[str, Any]]:
    """Return the answer for each row of one file; a picture is one row."""
    return [
        {"file": file, "row": row, "model": answer.model, "version": answer.version, "labels": _list(prediction)}
        for row, prediction in enumerate(answer)
    ]


def describe_activations(file: str, inspected: Inspection) -> dict[str, Any]:
    """Return the figures of each layer; the values themselves are what --save is for."""
    return {
        "file": file,
        "model": inspected.description.name,
        "version": inspected.description.version,
        "layers": [_describe_activation(name, inspected) for name in inspected.activations],
    }


def _describe_activation(name: str, inspected: Inspection) -> dict[str, Any]:
    values, activity = inspected.activations[name], inspected.measure(name)
    reduction = inspected.reductions.get(name, NONE)
    # The largest at a place are of many channels: how many of those are dead is not known.
    whole = name not in inspected.activations.channels
    return {
        "name": name,
        "reduction": str(reduction),
        "shape": list(values.shape),
        "dtype": values.dtype,
        "min": activity.smallest,
        "mean": activity.mean,
        "max": activity.largest,
        "zero_share": activity.zero_share,
        "channels": activity.channel_count if whole else None,
        "dead_channels": activity.dead_count if whole else None,
        "nan_count": activity.nan_count,
        "infinite_count": activity.infinite_count,
        **_describe_reduced(name, inspected, reduction),
    }


def _describe_reduced(name: str, inspected: Inspection, reduction: Reduction) -> dict[str, Any]:
    """Return what a reduction is asked for: it is small, unlike an activation."""
    if reduction.statistics:
        return {"statistics": [_name_statistics(row) for row in inspected.activations[name]]}
    if reduction.top_labels:
        return {"labels": [_list(row) for row in inspected.activations.predictions]}
    if reduction.top_channels:
        return {"top_channels": [asdict(one) for one in inspected.count_top(name)]}
    return {}


def _name_statistics(row: Array) -> dict[str, list[float]]:
    """Return the five figures of each channel."""
    return dict(zip(("mean", "deviation", "min", "max", "zero_share"), row.tolist(), strict=True))


def _list(prediction: Prediction) -> list[dict[str, Any]]:
    return [asdict(label) for label in prediction.labels]


def describe_differences(differences: Differences) -> dict[str, Any]:
    """Return how far two versions are apart; a number that is not finite is null, as everywhere in JSON."""
    first = differences.first_past
    layers = [
        asdict(layer) | {"relative": layer.relative, "error": _describe_uncompared(layer)}
        for layer in differences.layers
    ]
    return asdict(differences) | {
        "agree": differences.agree,
        "first_past": first.name if first else None,
        "layers": layers,
    }


def _describe_uncompared(layer: Difference) -> dict[str, str] | None:
    return {"code": "NOT_COMPARED", "message": layer.error} if layer.error else None


def _plain(value: Any) -> Any:
    """Return a value in JSON's own types: it has no NaN, no infinities and no dtypes."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.dtype):
        return "string" if value.hasobject else value.name
    return None if isinstance(value, float) and not math.isfinite(value) else value
