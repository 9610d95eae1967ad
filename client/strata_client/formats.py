"""Numbers as people read them."""

import math
from collections.abc import Sequence


def format_shape(shape: Sequence[int] | None) -> str:
    """Return a shape without its batch, such as `28x28x25`; `?` stands for an open size, `any` for an open shape."""
    if shape is None:
        return "any"
    return "x".join("?" if size < 0 else str(size) for size in shape[1:]) or "1"


def format_score(score: float) -> str:
    """Return three decimals of what may be a probability, three digits of any other score."""
    if 0 < score < 0.0005:
        return "<0.001"
    return f"{score:.3f}" if 0 <= score <= 1 else format_number(score)


def format_number(value: float) -> str:
    """Return three significant digits, as short as they can be."""
    if 1000 <= abs(value) < 1e6:
        return f"{value:,.0f}"
    return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")


def format_briefly(value: float) -> str:
    """Return two or three significant digits in at most six characters, for labels that have no more room."""
    if not math.isfinite(value) or value == 0:
        return f"{value:g}"
    if 0.01 <= abs(value) < 10:
        return f"{value:.2f}"
    if 10 <= abs(value) < 9999.5:
        return f"{value:.0f}"
    return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")


def format_window(size: Sequence[int], stride: Sequence[int]) -> str:
    """Return a window of the input and its steps, such as `14x14 by 2`, or `5x7 by 1x2` where they differ."""
    steps = stride if len(set(stride)) > 1 else stride[:1]
    return f"{'x'.join(map(str, size))} by {'x'.join(map(str, steps))}" if size else ""


def format_size(size: float) -> str:
    """Return a number of bytes with two or three digits, such as `1.2 GiB`."""
    units = iter(("bytes", "KiB", "MiB", "GiB", "TiB"))
    unit = next(units)
    while size >= 1024 and unit != "TiB":
        size, unit = size / 1024, next(units)
    return f"{size:,.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:.1f} {unit}"


def format_time(seconds: float) -> str:
    """Return a length of time as `m:ss`, or `h:mm:ss`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
