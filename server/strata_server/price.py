"""What a request would cost, reckoned before anything is run."""

import math

from strata_server.catalog import Layer
from strata_server.errors import OverLimit


def check_price(rows: int, layers: list[Layer], max_bytes: int) -> None:
    """Refuse a request whose values would be larger than allowed: rows x bytes of the layers.

    A size that the artifact leaves open counts as 1.

    Raises:
        OverLimit: with the numbers.
    """
    row_bytes = sum(_row_bytes(layer) for layer in layers)
    if rows * row_bytes > max_bytes:
        names = ", ".join(layer.name for layer in layers[:3]) + (", …" if len(layers) > 3 else "")
        raise OverLimit(
            f"expected at most {max_bytes} bytes, received a request for {rows * row_bytes}: "
            f"{rows} rows x {row_bytes} bytes ({names}); ask for fewer rows or layers at a time"
        )


def _row_bytes(layer: Layer) -> int:
    return math.prod(max(1, size) for size in layer.shape[1:]) * layer.dtype.itemsize
