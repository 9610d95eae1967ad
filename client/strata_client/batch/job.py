"""What a batch computes, so exactly that another run of it can be told from another job."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from strata_client.batch.blocks import Column, Layout
from strata_client.batch.errors import AnotherJob
from strata_client.batch.place import Place
from strata_client.errors import InvalidArgument

if TYPE_CHECKING:
    from strata_client.batch.exits import Exits
    from strata_client.batch.rows import Source
    from strata_client.catalog import Description

MANIFEST = "_strata.json"
_FORM = 1


@dataclass(frozen=True)
class Job:
    """All that the values of a result depend on."""

    model: str
    """`NAME:VERSION`."""
    artifact: str
    """SHA-256 of the artifact, in lower-case hexadecimal digits."""
    layers: tuple[str, ...]
    reductions: Mapping[str, str]
    """By layer, as text."""
    preprocessing: Mapping[str, Any]
    """How the server makes a picture an input; empty where the model takes none."""
    source: str
    """SHA-256 of the source's listing."""
    rows: int
    """Of the source."""
    format: str
    part_rows: int
    group_rows: int

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the job, in lower-case hexadecimal digits."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def describe_job(description: Description, exits: Exits, source: Source, format_name: str, layout: Layout) -> Job:
    """Return the job of these parts."""
    return Job(
        model=description.reference,
        artifact=description.digest,
        layers=exits.layers,
        reductions={layer: str(reduction) for layer, reduction in exits.reductions.items()},
        preprocessing=_describe_preprocessing(description),
        source=source.digest,
        rows=source.count,
        format=format_name,
        part_rows=layout.part_rows,
        group_rows=layout.group_rows,
    )


def _describe_preprocessing(description: Description) -> dict[str, Any]:
    """Return it as it comes back from a manifest, in which a tuple is a list."""
    rule = description.preprocessing
    return (
        {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(rule).items()}
        if rule
        else {}
    )


@dataclass(frozen=True)
class Manifest:
    """A job, and how its result is laid out: what stands in the place before its first part."""

    job: Job
    layout: Layout
    request_rows: int
    """Rows that are asked for at once: the last digits of a float may depend on it."""
    sources: tuple[str, ...] = ()
    """Digests of the source in later states, which were accepted as the same."""


def write_manifest(place: Place, manifest: Manifest) -> None:
    """Write the manifest, whole or not at all."""
    document = {
        "form": _FORM,
        "fingerprint": manifest.job.fingerprint,
        "job": asdict(manifest.job),
        "request_rows": manifest.request_rows,
        "sources": manifest.sources,
        "columns": [
            {"name": column.name, "dtype": column.dtype.str, "shape": column.shape}
            for column in manifest.layout.columns
        ],
    }
    with place.replacing(MANIFEST) as file:
        file.write(json.dumps(document, indent=2).encode())


def read_manifest(place: Place) -> Manifest | None:
    """Return the manifest of a place; None where it has none.

    Raises:
        InvalidArgument: it is damaged, or of a newer form.
    """
    try:
        with place.open(MANIFEST) as file:
            data = file.read()
    except FileNotFoundError:
        return None
    try:
        return _read(json.loads(data))
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidArgument(f"{place.where}/{MANIFEST}: expected what `strata batch` wrote there; {error}") from error


def _read(document: Any) -> Manifest:
    if document["form"] != _FORM:
        raise ValueError(f"it is of form {document['form']}, this client knows {_FORM}")
    written = document["job"]
    job = Job(**{**written, "layers": tuple(written["layers"])})
    if job.fingerprint != document["fingerprint"]:
        raise ValueError("its fingerprint is not that of its job")
    columns = tuple(Column(each["name"], np.dtype(each["dtype"]), tuple(each["shape"])) for each in document["columns"])
    layout = Layout(columns, job.group_rows, job.part_rows, job.rows)
    return Manifest(job, layout, document["request_rows"], tuple(document["sources"]))


def check_same(place: Place, there: Manifest, here: Job) -> None:
    """Refuse to mix two jobs.

    Raises:
        AnotherJob: they differ; it says in what.
    """
    if here.source in there.sources:
        here = replace(here, source=there.job.source)
    differing = _compare(there.job, here)
    if not differing:
        return
    what = "; ".join(f"{name}: {_shorten(one)} there, {_shorten(other)} here" for name, one, other in differing)
    hint = "name another place, or remove that one"
    if is_only_source(there.job, here):
        hint = "--accept-source goes on all the same, and keeps the answers that are there"
    raise AnotherJob(f"{place.where} holds the result of another job ({what}): {hint}")


def is_only_source(there: Job, here: Job) -> bool:
    """Say whether all that differs is what the source's files hold, or are called: there are as many rows."""
    return [name for name, _, _ in _compare(there, here)] == ["source"]


def _compare(there: Job, here: Job) -> list[tuple[str, object, object]]:
    others = asdict(here)
    return [(name, value, others[name]) for name, value in asdict(there).items() if value != others[name]]


def _shorten(value: object) -> str:
    if isinstance(value, Mapping):
        value = ", ".join(f"{name}={each}" for name, each in value.items())
    elif isinstance(value, tuple):
        value = ",".join(map(str, value))
    text = str(value) or "none"
    return text if len(text) <= 80 else f"{text[:77]}..."
