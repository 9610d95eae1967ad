"""Inputs of any number of rows, in as many requests as the limits want, and their answers as one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic

from strata.v1.catalog_pb2 import DescribeModelResponse

from strata_client import _shared
from strata_client._calls import Call, Conversation, ask, ask_all, attempt, reads
from strata_client._questions import Answer, Question
from strata_client._rows import Rows, enter
from strata_client._shared import Fields, Inputs
from strata_client.catalog import Description
from strata_client.errors import NotFound, ResourceExhausted, StrataError

FEW_ROWS = 8
"""So many are sent together without a question: it would cost more than it could spare."""
ANSWER_BYTES = 32 * 2**20
"""What the answer to one of several requests is to have: enough to be quick, and not so much that many hurt."""

_MOST_KEPT = 64
# How a server names a row of the request.
_ROW = re.compile(r"\bpicture (?P<picture>\d+)\b|\bin row (?P<row>\d+), at \((?P=row)\b")


def describe(model: str) -> Call[Description]:
    """Ask for the catalog of one version."""
    return Call(
        "/strata.v1.CatalogService/DescribeModel",
        _shared.write_describe(model).SerializeToString(),
        reads(DescribeModelResponse, _shared.read_description),
    )


@dataclass
class Limits:
    """What requests and answers are kept to."""

    request_bytes: int
    answer_bytes: int = ANSWER_BYTES
    descriptions: dict[str, Description] = field(default_factory=dict)
    """What is known of models, by the references that were asked. A newer version makes it a guess: it decides about
    sizes alone."""

    def count_rows(self, question: Question[Answer], model: str) -> Conversation[int]:
        """Return how many rows an answer has room for."""
        description = self.descriptions.get(model)
        if description is None:
            description = yield from ask(describe(model))
            if len(self.descriptions) >= _MOST_KEPT:
                self.descriptions.clear()
            self.descriptions[model] = description
        row_bytes = question.measure(description)
        return max(1, self.answer_bytes // row_bytes) if row_bytes else _UNLIMITED

    def forget(self, model: str, version: str) -> None:
        """Let go of a description if another version has answered."""
        description = self.descriptions.get(model)
        if description and description.version != version:
            self.descriptions.pop(model, None)  # another thread may have been as quick


_UNLIMITED = 2**63


def converse(question: Question[Answer], inputs: Inputs, model: str, limits: Limits) -> Conversation[Answer]:
    """Ask about rows.

    Where several requests are needed, the first one goes alone: what it is refused for is told at once, and which
    version answers it decides about the others. If that version is gone before the end, and it was not the caller who
    named it, all is asked again, once.
    """
    rows = enter(inputs, limits.request_bytes)
    if rows.count == 1:
        fields, _ = rows.write(0, 1, limits.request_bytes)
        return (
            yield from ask(Call(question.path, write(question, fields, model, limits.request_bytes), question.read))
        )
    few = rows.count <= FEW_ROWS
    most = rows.count if few else (yield from limits.count_rows(question, model))
    chunks = _Chunks(question, rows, model, limits.request_bytes, most)
    try:
        answer = yield from chunks.ask()
    except NotFound:
        # A version that nobody named was replaced meanwhile.
        if not chunks.has_begun or _names_version(model):
            raise
        answer = yield from chunks.ask()
    if not few:
        limits.forget(model, answer.version)
    return answer


def write(question: Question[Answer], fields: Fields, model: str, max_bytes: int) -> bytes:
    """Return a request as it travels.

    Raises:
        ResourceExhausted: it is larger than a message may be.
    """
    body = question.write(fields, model)
    # gRPC would refuse it as well, but without the name of the setting.
    if len(body) > max_bytes:
        raise ResourceExhausted(
            f"the request has {len(body):,} bytes, and max_message_bytes is {max_bytes:,}: send fewer rows at once"
        )
    return body


def _names_version(model: str) -> bool:
    return model.partition(":")[2].isdecimal()


Span = tuple[int, int]
"""Rows, from the first up to but without the second."""


class _Chunks(Generic[Answer]):
    """The requests of one input."""

    def __init__(self, question: Question[Answer], rows: Rows, model: str, max_bytes: int, most: int) -> None:
        self._question = question
        self._rows = rows
        self._model = model
        self._max_bytes = max_bytes
        self._most = most
        """How many rows an answer has room for; less, where a server has refused so many."""
        self.has_begun = False
        """Whether a version has answered, and more is to be asked of it."""
        self._frame_bytes = len(question.write({}, model)) + 256
        """What a request has beside its rows; the name of a model with its version may be longer than without."""

    def ask(self) -> Conversation[Answer]:
        """Ask for everything.

        Raises:
            NotFound: there is no such model, or no more of the version that answered first.
        """
        self.has_begun = False
        first, stop = yield from self._ask_first()
        if stop == self._rows.count:
            return first
        self.has_begun = True
        model = f"{first.model}:{first.version}"
        answers: dict[Span, Answer] = {(0, stop): first}
        left: list[Span] = [(stop, self._rows.count)]
        while left:
            asked: list[Span] = []
            outcomes = yield from ask_all(self._write_all(left, asked, model))
            left = []
            for span, outcome in zip(asked, outcomes, strict=True):
                if isinstance(outcome, StrataError):
                    self._shrink(span, outcome)
                    left.append(span)
                else:
                    answers[span] = outcome
        spans = sorted(answers)
        return self._question.join([answers[span] for span in spans], [last - first for first, last in spans])

    def _ask_first(self) -> Conversation[tuple[Answer, int]]:
        """Return the first answer, and the row where it ends."""
        while True:
            span, call = self._write(0, self._rows.count, self._model)
            outcome = yield from attempt(call)
            if not isinstance(outcome, StrataError):
                return outcome, span[1]
            self._shrink(span, outcome)

    def _shrink(self, span: Span, error: StrataError) -> None:
        """Ask for fewer rows at once from now on; raise what is not for their number."""
        count = span[1] - span[0]
        if error.retry_after_s is not None or count < 2:
            raise error
        self._most = min(self._most, count // 2)

    def _write_all(self, spans: Iterable[Span], asked: list[Span], model: str) -> Iterator[Call[Answer]]:
        """Write requests as they are taken, and note their rows."""
        for start, last in spans:
            first = start
            while first < last:
                span, call = self._write(first, last, model)
                asked.append(span)
                yield call
                first = span[1]

    def _write(self, first: int, last: int, model: str) -> tuple[Span, Call[Answer]]:
        """Write one request of some of the rows."""
        fields, stop = self._rows.write(first, min(last, first + self._most), self._max_bytes - self._frame_bytes)
        body = write(self._question, fields, model, self._max_bytes)

        call = Call(
            self._question.path,
            body,
            self._question.read,
            tolerated=(ResourceExhausted,),
            refuse=lambda error: locate(error, first),
        )
        return (first, stop), call


def locate(error: StrataError, first: int) -> StrataError:
    """Return an error that names a row as the caller counts, where the request began at another one."""

    def count(found: re.Match[str]) -> str:
        row = int(found["picture"] or found["row"]) + first
        return f"picture {row}" if found["picture"] else f"in row {row}, at ({row}"

    text = _ROW.sub(count, str(error), count=1)
    if text == str(error):
        return error
    located = type(error)(text)
    located.retry_after_s = error.retry_after_s
    return located
