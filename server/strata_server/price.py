"""What a request would cost, reckoned before anything is run."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from strata_server.elements import held_bytes
from strata_server.errors import OverLimit, quote_all
from strata_server.figures import count_multiply_adds
from strata_server.graph import Graph
from strata_server.settings import Limits
from strata_server.shapes import Known
from strata_server.slicing import Part

# What a label adds to its name on the wire: index, score and the tags and lengths around them.
_LABEL_BYTES = 24


@dataclass(frozen=True)
class Price:
    """What one run of a slice takes."""

    shapes: Mapping[str, Known]
    """Of the exits."""

    multiply_adds: int
    activation_bytes: int
    """The exits, and the most that one node of the network takes and computes at a time."""


def reckon(graph: Graph, part: Part, shape: Callable[[str], Known]) -> Price:
    """Return what a run of a part costs; what only the run will tell counts nothing.

    Args:
        graph: where the part lies.
        part: what is to run.
        shape: tells the shape of each of its tensors for this request.
    """

    def count_bytes(name: str) -> int:
        tensor, known = graph.tensor(name), shape(name)
        return 0 if tensor.dtype is None or known is None else math.prod(known) * held_bytes(tensor.dtype)

    multiply_adds = largest = 0
    for place in part.nodes:
        if place in part.shapes:
            continue
        node = graph.nodes[place]
        multiply_adds += count_multiply_adds(node, shape) or 0
        around = (name for name in (*graph.takes[place], *node.output) if name in graph.varying)
        largest = max(largest, sum(map(count_bytes, around)))
    shapes = {name: shape(name) for name in part.slice.exits}
    return Price(shapes, multiply_adds, largest + sum(map(count_bytes, part.slice.exits)))


def check_price(price: Price, exits: Sequence[str], limits: Limits) -> None:
    """Refuse a request whose run would take more than allowed.

    Raises:
        OverLimit: with the numbers.
    """
    for received, most, unit in (
        (price.multiply_adds, limits.max_multiply_adds, "multiply-adds"),
        (price.activation_bytes, limits.max_activation_bytes, "bytes of activations"),
    ):
        if received > most:
            raise OverLimit(
                f"expected at most {most} {unit}, received a request for {received} ({quote_all(exits)}); "
                "ask for fewer rows or layers at a time"
            )


def check_bytes(rows: int, row_bytes: int, names: Sequence[str], max_bytes: int) -> None:
    """Refuse a request whose values would be larger than allowed: rows x bytes of each.

    Raises:
        OverLimit: with the numbers.
    """
    if rows * row_bytes > max_bytes:
        raise OverLimit(
            f"expected at most {max_bytes} bytes, received a request for {rows * row_bytes}: "
            f"{rows} rows x {row_bytes} bytes ({quote_all(names)}); ask for fewer rows or layers at a time"
        )


def check_labels_price(rows: int, classes: Sequence[str], top_k: int, max_bytes: int) -> None:
    """Refuse a request whose labels would be larger than allowed; errors as in `check_bytes`."""
    longest = max((len(name.encode()) for name in classes), default=0)
    check_bytes(rows, top_k * (longest + _LABEL_BYTES), ["labels"], max_bytes)
