import pytest
from strata_client.names import escape, shorten


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("conv1/Relu:0 größe 猫", "conv1/Relu:0 größe 猫"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("two\nlines\ttab", r"two\nlines\ttab"),
        ("exe\u202egnp.", r"exe\u202egnp."),
        ("odd\udcff", r"odd\udcff"),
    ],
)
def test_what_moves_a_cursor_or_hides_is_escaped(text: str, shown: str) -> None:
    assert escape(text) == shown


@pytest.mark.parametrize(
    ("text", "length", "shown"),
    [("conv1", 5, "conv1"), ("conv12", 5, "co…12"), ("abcdef", 4, "ab…f"), ("abc", 2, "a…"), ("ab\x07", 5, "ab…07")],
)
def test_a_long_name_keeps_both_ends(text: str, length: int, shown: str) -> None:
    assert shorten(text, length) == shown
