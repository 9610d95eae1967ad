"""Asks for one row before a job begins: its answer says what columns there are, and whether it can be done at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from strata_client.batch.blocks import Column
from strata_client.batch.exits import find_columns
from strata_client.batch.rows import Failure
from strata_client.errors import InvalidArgument, NotFound, StrataError

if TYPE_CHECKING:
    from strata_client.activity import Array
    from strata_client.batch.access import Access
    from strata_client.batch.exits import Exits
    from strata_client.batch.patience import Patience
    from strata_client.batch.rows import Source
    from strata_client.catalog import Description

_ROWS = 16
"""So many from the front are tried, before what enters is made up."""


def probe(
    access: Access, description: Description, exits: Exits, source: Source, patience: Patience
) -> Sequence[Column]:
    """Return the columns of a result.

    Raises:
        InvalidArgument, NotFound: what is asked cannot be answered, whatever enters.
        StrataError: nobody answers.
    """
    with access.open(1) as client:
        first: StrataError | None = None
        for inputs in _draw(source, description):
            try:
                answer = patience.insist(partial(exits.ask, client, inputs, description.reference), once=(NotFound,))
            except InvalidArgument as error:
                first = first or error
            else:
                return find_columns(exits.split(answer))
    raise first or InvalidArgument(f"none of the first {min(source.count, _ROWS)} rows can be read")


def _draw(source: Source, description: Description) -> Iterator[Sequence[bytes] | Mapping[str, Array]]:
    """Return what may enter: the first rows that can be read, then zeros, for pictures that are all broken."""
    are_pictures = True
    for row in islice(source.read(0, source.count), _ROWS):
        if isinstance(row.value, Mapping):
            are_pictures = False
            _check_names(row.value, description)
            yield {name: array[None] for name, array in row.value.items()}
        elif not isinstance(row.value, Failure):
            yield [row.value]
    entry = description.find(description.entry)
    if are_pictures and description.preprocessing and entry and entry.shape and min(entry.shape[1:]) > 0:
        yield {entry.name: np.zeros((1, *entry.shape[1:]), entry.dtype)}


def _check_names(arrays: Mapping[str, Array], description: Description) -> None:
    """Refuse arrays for what is not there: a server that lacks a layer may be one that is being replaced."""
    for name in arrays:
        if name and not description.find(name):
            raise NotFound(f"model {description.name}: unknown layer {name!r}, of which the source has arrays")
