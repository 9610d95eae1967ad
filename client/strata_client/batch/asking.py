"""Asks for rows until each has an answer or a reason why it has none."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from strata_client.batch.blocks import Block, Column, join
from strata_client.batch.errors import JobFailed
from strata_client.batch.exits import Exits, fill
from strata_client.batch.patience import Patience
from strata_client.batch.rows import Failure, Row
from strata_client.errors import DeadlineExceeded, InvalidArgument, ResourceExhausted, ServerError

if TYPE_CHECKING:
    from strata_client import Client
    from strata_client._shared import Inputs

# Of a single row: the server numbers what it was sent.
_ROW_NUMBER = re.compile(r"\bpicture 0: ")


class Asker:
    """Asks one model; threads may share it.

    Args:
        client: what asks.
        model: `NAME:VERSION`.
        artifact: the digest of what must answer.
        exits: what every row is asked for.
        patience: with servers that do not answer.
    """

    def __init__(self, client: Client, model: str, artifact: str, exits: Exits, patience: Patience) -> None:
        self._client = client
        self._model = model
        self._artifact = artifact
        self._exits = exits
        self._patience = patience

    def stop(self) -> None:
        """Let nobody wait any more, neither for a server to come back nor for an answer."""
        self._patience.stop()
        self._client.close()

    def ask(self, rows: Sequence[Row], columns: Sequence[Column]) -> Block:
        """Return the results of some rows, in their order.

        Args:
            rows: pictures, or arrays.
            columns: what they must fit.

        Raises:
            JobFailed: no server has answered for longer than the patience, or one with another artifact has.
            StrataError: the server refuses whatever it is asked, such as for its credentials.
        """
        pieces: list[Block] = []
        for cannot_be_read, group in groupby(rows, key=lambda row: isinstance(row.value, Failure)):
            some = list(group)
            pieces += [_fail(some, columns)] if cannot_be_read else self._ask_some(some, columns)
        return join(pieces)

    def _ask_some(self, rows: Sequence[Row], columns: Sequence[Column]) -> list[Block]:
        """Return the results of rows that could be read; where one is refused, of each half."""
        inputs = _stack(rows)
        try:
            answer = self._patience.insist(
                lambda: self._exits.ask(self._client, inputs, self._model),
                once=(DeadlineExceeded,) if len(rows) > 1 else (),
            )
        except (InvalidArgument, ResourceExhausted, ServerError) as error:
            if len(rows) == 1:
                failed = replace(rows[0], value=Failure(error.code, _ROW_NUMBER.sub("", str(error))))
                return [_fail([failed], columns)]
        except DeadlineExceeded:
            pass  # it is not raised for a single one: smaller requests may be in time
        else:
            self._check(answer.digest)
            block = replace(self._exits.split(answer), keys=[row.key for row in rows])
            return [_fit(block, columns)]
        half = len(rows) // 2
        return self._ask_some(rows[:half], columns) + self._ask_some(rows[half:], columns)

    def _check(self, digest: str) -> None:
        if digest != self._artifact:
            raise JobFailed(
                f"{self._model} is another artifact than this job began with: "
                f"expected {self._artifact[:12]}, received {digest[:12] or 'none, from an older server'}"
            )


def _stack(rows: Sequence[Row]) -> Inputs:
    first = rows[0].value
    if not isinstance(first, Mapping):
        return [row.value for row in rows if isinstance(row.value, bytes)]
    arrays = [row.value for row in rows if isinstance(row.value, Mapping)]
    return {name: np.stack([each[name] for each in arrays]) for name in first}


def _fit(block: Block, columns: Sequence[Column]) -> Block:
    """Return the block, its rows failed where they are not of the columns' shapes."""
    for column in columns:
        shape = block.tensors[column.name].shape[1:]
        if shape != column.shape:
            failure = Failure("INVALID_ARGUMENT", f"{column.name}: expected shape {column.shape}, received {shape}")
            return _fail([Row(key, failure) for key in block.keys], columns)
    return block


def _fail(rows: Sequence[Row], columns: Sequence[Column]) -> Block:
    nothing = [None] * len(rows)
    failures = [row.value if isinstance(row.value, Failure) else None for row in rows]
    tensors = {column.name: fill(column, len(rows)) for column in columns}
    return Block([row.key for row in rows], nothing, nothing, failures, tensors)
