import pytest
from strata_client import InvalidArgument, Reduction, reductions
from strata_client.reductions import parse


@pytest.mark.parametrize(
    ("text", "reduction"),
    [
        ("none", Reduction()),
        ("mean", Reduction(pooling="mean")),
        ("max", Reduction(pooling="max")),
        ("statistics", Reduction(statistics=True)),
        ("top:3", Reduction(top_channels=3)),
        ("labels:2147483647", Reduction(top_labels=2**31 - 1)),
        ("half", Reduction(half=True)),
        ("channels:0-16", Reduction(channels=(0, 16))),
        ("space:2-14", Reduction(space=((2, 14),))),
        ("channels:4-9223372036854775807+space:0-7,7-14", Reduction(channels=(4, 2**63 - 1), space=((0, 7), (7, 14)))),
    ],
)
def test_a_text_is_a_reduction_and_back(text: str, reduction: Reduction) -> None:
    assert parse(text) == reduction
    assert str(reduction) == text


def test_the_order_and_the_spaces_of_the_text_do_not_matter() -> None:
    assert parse(" half + mean+ channels:1-2") == parse("channels:1-2+mean+half")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "+",
        "mean+",
        "median",
        "Mean",
        "mean:1",
        "half:1",
        "none+mean",
        "mean,half",
    ],
)
def test_another_text_is_refused_with_what_is_expected(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"expected mean, max, .* joined with '\+', or none; received"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(
            (text, "top:K, K a number from 1")
            for text in ("top", "top:", "top:0", "top:-1", "top:2147483648", "top:1.5", "top:²")
        ),
        ("labels:x", "labels:K, K a number from 1"),
        *(
            (f"channels:{text}", "channels:A-B with A below B")
            for text in ("3", "3-3", "4-3", "-3", "0-9223372036854775808", "0-1,2-3")
        ),
        *((f"space:{text}", "space:A-B,C-D with A below B and C below D") for text in ("", "0-1,", "0-1,x")),
    ],
)
def test_a_step_without_a_value_that_it_can_have_is_refused_with_its_form(text: str, expected: str) -> None:
    with pytest.raises(InvalidArgument, match=f"reduction: expected {expected}; received '{text}' in"):
        parse(text)


@pytest.mark.parametrize("text", ["mean+max", "half+half", "top:1+top:2", "channels:0-1+mean+channels:0-1"])
def test_a_step_comes_once(text: str) -> None:
    with pytest.raises(InvalidArgument, match="each step once"):
        parse(text)


def test_what_contradicts_itself_is_for_the_server_to_judge() -> None:
    assert parse("statistics+mean+top:1").statistics


def test_a_mapping_reduces_what_it_names() -> None:
    reduced = reductions.resolve({"a": "mean", "c": Reduction(half=True)}, ["a", "b", "c"])
    assert reduced == {"a": Reduction(pooling="mean"), "b": Reduction(), "c": Reduction(half=True)}


def test_a_mapping_that_names_a_layer_that_is_not_asked_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="expected one of the layers that are asked; received 'x'"):
        reductions.resolve({"x": "mean"}, ["a"])


def test_anything_else_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="expected text or a Reduction; received int"):
        reductions.read(3)  # type: ignore[arg-type]
