"""Names and labels of others, as a page and a picture can show them."""

import functools
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any

from matplotlib.font_manager import findfont, get_font

FONT = "DejaVu Sans"
"""It comes with matplotlib, so that a picture is the same on every machine."""

_LONGEST_IN_PAGE = 120
_LONGEST_IN_PICTURE = 18


def clean(value: Any) -> Any:
    """Return what is shown of a value: of a text no control characters, and no half of a character.

    The file system may give both in a folder's name; the second cannot be encoded.
    """
    if type(value) is not str:  # markup is ours, and has none
        return value
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(char) in {"Cc", "Cs"} else char for char in value
    )


def shorten(text: str, longest: int = _LONGEST_IN_PAGE) -> str:
    """Cut a long text."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def make_labels(classes: Sequence[str], longest: int = _LONGEST_IN_PICTURE) -> list[str]:
    """Return for each class what stands for it in a picture: its name, or '#' and its number.

    The number is for a name that the font cannot draw, and for those that are the same once they are cut.
    """
    short = [shorten(name, longest) for name in classes]
    counts = Counter(short)
    return [label if counts[label] == 1 and _can_draw(label) else f"#{number}" for number, label in enumerate(short)]


def _can_draw(label: str) -> bool:
    return bool(label.strip()) and all(char.isprintable() and ord(char) in _characters() for char in label)


@functools.cache
def _characters() -> frozenset[int]:
    return frozenset(get_font(findfont(FONT)).get_charmap())
