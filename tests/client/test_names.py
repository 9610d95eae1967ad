import pytest
from strata_client.names import escape, shorten, split


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


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("conv1,pool1", ["conv1", "pool1"]),
        (" conv1 , ,pool1,", ["conv1", "pool1"]),
        ("add:0,1", ["add:0,1"]),
        ("conv1,add:0,1,pool1", ["conv1", "add:0,1", "pool1"]),
        ("add:0,1,add:0,2", ["add:0,1", "add:0", "2"]),
        ("a,b,c", ["a,b,c"]),
        ("", []),
    ],
)
def test_commas_separate_names_but_for_those_in_a_name_that_is_known(text: str, names: list[str]) -> None:
    assert split(text, {"conv1", "add:0,1", "a,b", "a,b,c"}) == names
