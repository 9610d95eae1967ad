import pytest
from strata_client.formats import format_briefly, format_number, format_score, format_shape


@pytest.mark.parametrize(
    ("value", "shown", "briefly"),
    [
        (0, "0", "0"),
        (0.25, "0.25", "0.25"),
        (1234.5, "1,234", "1234"),
        (0.00001234, "1.23e-5", "1e-5"),
        (-2.5e12, "-2.5e12", "-2e12"),
        (float("nan"), "nan", "nan"),
        (float("-inf"), "-inf", "-inf"),
    ],
)
def test_numbers_are_as_short_as_they_can_be(value: float, shown: str, briefly: str) -> None:
    assert (format_number(value), format_briefly(value)) == (shown, briefly)


@pytest.mark.parametrize(
    ("score", "shown"),
    [
        (1.0, "1.000"),
        (0.99951, "1.000"),
        (0.0005, "0.001"),
        (0.0004, "<0.001"),
        (0.0, "0.000"),
        (12.345, "12.3"),
        (-3.0, "-3"),
    ],
)
def test_a_score_has_three_decimals_where_it_may_be_a_probability(score: float, shown: str) -> None:
    assert format_score(score) == shown


@pytest.mark.parametrize(
    ("shape", "shown"), [((-1, 28, 28, 25), "28x28x25"), ((1, 10), "10"), ((-1, -1, 8), "?x8"), ((-1,), "1")]
)
def test_a_shape_has_no_batch(shape: tuple[int, ...], shown: str) -> None:
    assert format_shape(shape) == shown
