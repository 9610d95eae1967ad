"""What a request would cost, reckoned before anything is run."""

import math
from collections.abc import Sequence

from strata_server.catalog import Layer
from strata_server.errors import OverLimit, quote_all

# What a label adds to its name on the wire: index, score and the tags and lengths around them.
_LABEL_BYTES = 24


def check_price(rows: int, layers: Sequence[Layer], max_bytes: int) -> None:
    """Refuse a request whose values would be larger than allowed: rows x bytes of the layers.

    Raises:
        OverLimit: with the numbers.
    """
    row_bytes = sum(math.prod(layer.shape[1:]) * layer.dtype.itemsize for layer in layers)
    _check(rows, row_bytes, quote_all([layer.name for layer in layers]), max_bytes)


def check_labels_price(rows: int, classes: Sequence[str], top_k: int, max_bytes: int) -> None:
    """Refuse a request whose labels would be larger than allowed; errors as in `check_price`."""
    longest = max((len(name.encode()) for name in classes), default=0)
    _check(rows, top_k * (longest + _LABEL_BYTES), f"{top_k} labels", max_bytes)


def _check(rows: int, row_bytes: int, what: str, max_bytes: int) -> None:
    if rows * row_bytes > max_bytes:
        raise OverLimit(
            f"expected at most {max_bytes} bytes, received a request for {rows * row_bytes}: "
            f"{rows} rows x {row_bytes} bytes ({what}); ask for fewer rows or layers at a time"
        )
