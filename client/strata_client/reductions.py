"""What is done to an activation before it is sent, and how one writes that in a line."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from strata_client.errors import InvalidArgument

Range: TypeAlias = tuple[int, int]
"""From the first, up to but without the second, as in Python."""

_LARGEST_COUNT = 2**31 - 1
_LARGEST_INDEX = 2**63 - 1


@dataclass(frozen=True)
class Reduction:
    """What is done to an activation before it is sent, in the order of these fields.

    The server refuses what a layer does not have (see `Layer.reductions`), and steps that contradict each other.
    `str` writes it as `parse` reads it.
    """

    channels: Range | None = None
    """Keep these channels."""
    space: tuple[Range, ...] = ()
    """Keep this part of space: a range for each dimension of it, in their order."""
    pooling: str = ""
    """`mean` or `max`: one number for each channel, shape (rows, channels)."""
    statistics: bool = False
    """Mean, standard deviation, minimum, maximum and share of zeros of each channel: shape (rows, 5, channels)."""
    top_channels: int = 0
    """Keep that many channels at each place, the largest first; their indices come beside them."""
    top_labels: int = 0
    """Keep that many classes of the layer that is the whole prediction; their labels come beside them."""
    half: bool = False
    """Send float16."""

    def __str__(self) -> str:
        steps = [
            f"channels:{_write_range(self.channels)}" if self.channels else "",
            f"space:{','.join(map(_write_range, self.space))}" if self.space else "",
            self.pooling,
            "statistics" if self.statistics else "",
            f"top:{self.top_channels}" if self.top_channels else "",
            f"labels:{self.top_labels}" if self.top_labels else "",
            "half" if self.half else "",
        ]
        return "+".join(filter(None, steps)) or "none"


Reduce: TypeAlias = "str | Reduction | Mapping[str, str | Reduction]"
"""One reduction for all layers, as text or as it is; or one for each layer by its name, the others sent whole."""

NONE = Reduction()


def parse(text: str) -> Reduction:
    """Read steps joined with `+`, in any order.

    `channels:A-B` and `space:A-B,C-D` keep ranges, each from A up to but without B; `mean`, `max` and `statistics`
    leave no space; `top:K` and `labels:K` keep the largest; `half` sends float16; `none` alone does nothing.

    Raises:
        InvalidArgument: it is no such text, or has one step twice; `mean` and `max` are the same step.
    """
    if text.strip() == "none":
        return NONE
    fields: dict[str, Any] = {}
    for step in text.split("+"):
        field, value = _parse_step(step.strip(), text)
        if field in fields:
            raise InvalidArgument(f"reduction: expected each step once; received {text!r}")
        fields[field] = value
    return Reduction(**fields)


def resolve(reduce: Reduce, layers: Sequence[str]) -> dict[str, Reduction]:
    """Return the reduction of each layer.

    Raises:
        InvalidArgument: a mapping names something else than these layers.
    """
    if not isinstance(reduce, Mapping):
        return dict.fromkeys(layers, read(reduce))
    for name in reduce:
        if name not in layers:
            raise InvalidArgument(f"reduction: expected one of the layers that are asked; received {name!r}")
    return {layer: read(reduce.get(layer, NONE)) for layer in layers}


def read(reduction: str | Reduction) -> Reduction:
    """Return a reduction, which may be text."""
    if isinstance(reduction, str):
        return parse(reduction)
    if isinstance(reduction, Reduction):
        return reduction
    raise TypeError(f"reduction: expected text or a Reduction; received {type(reduction).__name__}")


def _parse_step(step: str, text: str) -> tuple[str, Any]:
    """Return the field that a step sets, and its value."""
    if step in _WORDS:
        return _WORDS[step]
    name, _, value = step.partition(":")
    if name in _VALUES:
        field, parse_value = _VALUES[name]
        if parsed := parse_value(value):
            return field, parsed
        raise InvalidArgument(f"reduction: expected {_FORMS[name]}; received {step!r} in {text!r}")
    raise InvalidArgument(
        "reduction: expected mean, max, statistics, top:K, labels:K, channels:A-B, space:A-B,C-D or half, "
        f"joined with '+', or none; received {step!r} in {text!r}"
    )


def _parse_count(text: str) -> int:
    """Return a number from 1; 0 where it is none."""
    return int(text) if _is_number(text) and int(text) <= _LARGEST_COUNT else 0


def _parse_range(text: str) -> Range | None:
    start, _, stop = text.partition("-")
    if not _is_number(start) or not _is_number(stop):
        return None
    return (int(start), int(stop)) if int(start) < int(stop) <= _LARGEST_INDEX else None


def _parse_ranges(text: str) -> tuple[Range, ...]:
    ranges = [_parse_range(part.strip()) for part in text.split(",")]
    return tuple(one for one in ranges if one) if all(ranges) else ()


def _is_number(text: str) -> bool:
    # Not str.isdigit: it takes the digits of every script, and int() refuses some of them.
    return re.fullmatch("[0-9]{1,19}", text) is not None


def _write_range(one: Range) -> str:
    return f"{one[0]}-{one[1]}"


_WORDS: dict[str, tuple[str, object]] = {
    "mean": ("pooling", "mean"),
    "max": ("pooling", "max"),
    "statistics": ("statistics", True),
    "half": ("half", True),
}
_FORMS = {
    "channels": "channels:A-B with A below B",
    "space": "space:A-B,C-D with A below B and C below D",
    "top": "top:K, K a number from 1",
    "labels": "labels:K, K a number from 1",
}
_VALUES: dict[str, tuple[str, Callable[[str], object]]] = {
    "channels": ("channels", _parse_range),
    "space": ("space", _parse_ranges),
    "top": ("top_channels", _parse_count),
    "labels": ("top_labels", _parse_count),
}
