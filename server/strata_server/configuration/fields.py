"""Values of single fields of a configuration, checked."""

import difflib
import re
from collections.abc import Iterable, Mapping

from strata_server.errors import ArtifactError, quote

MOST_ROWS = 65536
MOST_WAIT_US = 1_000_000
LARGEST_NUMBER = 10**18 - 1
"""Of a version: 18 digits, as the folders that hold them."""
_MOST_SERVED = 10_000
_LONGEST_COMPLAINT = 200
_LABEL = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")


def check_names(place: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Refuse a field that is not known, with the nearest ones that are.

    Args:
        place: what stands before the field's name, such as "strata.toml: batch.".
        names: those received.
        known: those that are honored.
    """
    honored = set(known)
    for name in names:
        if name not in honored:
            raise ArtifactError(f"{place}{explain_unknown(name, honored)}")


def explain_unknown(name: str, known: Iterable[str]) -> str:
    """Return what is said of a field that is not known: the nearest ones that are, and all of them."""
    honored = sorted(known)
    near = difflib.get_close_matches(name, honored, 1)
    hint = f", perhaps {quote(near[0])}" if near else ""
    return f"expected a field that is honored, received {quote(name)}{hint}; honored: {', '.join(honored)}"


def check_count(field: str, value: object, low: int, high: int) -> int:
    """Return a whole number that must lie between two others."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ArtifactError(f"{field}: expected a whole number from {low} to {high}, received {quote_value(value)}")
    return value


def check_latest(field: str, value: object) -> int:
    """Return how many of the newest versions are served."""
    return check_count(field, value, 1, _MOST_SERVED)


def check_numbers(field: str, values: Iterable[object]) -> tuple[int, ...]:
    """Return numbers of versions, at least one and each once, in rising order."""
    numbers = [check_count(field, value, 1, LARGEST_NUMBER) for value in values]
    if not numbers or len(set(numbers)) != len(numbers):
        received = "none" if not numbers else "one of them twice"
        raise ArtifactError(f"{field}: expected the numbers of versions, each once, received {received}")
    if len(numbers) > _MOST_SERVED:
        raise ArtifactError(f"{field}: expected at most {_MOST_SERVED} versions, received {len(numbers)}")
    return tuple(sorted(numbers))


def check_labels(field: str, labels: Mapping[str, object]) -> dict[str, int]:
    """Return names for versions, none of which could be a number."""
    for label in labels:
        if not _LABEL.fullmatch(label):
            raise ArtifactError(
                f"{field}: expected a label of 1 to 64 letters, digits, '.', '_' or '-', a letter first, "
                f"received {quote(label)}"
            )
    return {label: check_count(f"{field}.{label}", value, 1, LARGEST_NUMBER) for label, value in labels.items()}


def quote_value(value: object) -> str:
    """Return a stranger's value, shortened and escaped, so that it can stand in a message."""
    return quote(value) if isinstance(value, str) else quote(str(value))[1:-1]


def shorten(text: str) -> str:
    """Return what a parser says, with parts of what it read, so that it can stand in a message."""
    return "".join(mark if mark.isprintable() else "?" for mark in text[:_LONGEST_COMPLAINT])
