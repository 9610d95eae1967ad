"""What goes in: the rows of a source, and where they come from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from strata_client.activity import Array


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a row has no answer."""

    code: str
    """The name of a gRPC status code, such as `INVALID_ARGUMENT` for what is no picture or `NOT_FOUND` for no file."""
    reason: str
    """One line."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a source."""

    key: str
    """Names it within its source: the path beneath a folder, the member of a tar, else its number from 0."""
    value: bytes | Mapping[str, Array] | Failure
    """A picture's file; arrays without the dimension of rows, by the names of inputs or layers, the empty name for a
    model's only input; or why it could not be read."""


class Span(Protocol):
    """Some rows of a source, to be read anywhere: it can be pickled, and needs no listing."""

    def read(self) -> Iterator[Row]:
        """Read the rows in their order, as many as the span has; one that cannot be read holds its Failure.

        Raises:
            OSError: the source itself is gone, or cannot be read any more.
            InvalidArgument: it is no longer what was listed.
        """
        ...


class Source(Protocol):
    """Rows in an order that is the same at every run; the memory it takes does not grow with their number."""

    @property
    def count(self) -> int:
        """How many rows there are."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256 over the keys and sizes of all rows in their order, in lower-case hexadecimal digits."""
        ...

    @property
    def skipped(self) -> Mapping[str, int]:
        """What stands beside the rows and is none: how many files, by their ending."""
        ...

    def span(self, start: int, stop: int) -> Span:
        """Return the rows from `start` up to but without `stop`, for somebody else to read."""
        ...

    def read(self, start: int, stop: int) -> Iterator[Row]:
        """Read rows one after another, lazily and fast for a million of them; errors as in `Span.read`."""
        ...

    def close(self) -> None:
        """Let go of files that were opened for it."""
        ...
