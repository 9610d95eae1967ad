import io
import re
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from rich.console import Console
from strata_client import (
    Activations,
    Description,
    Difference,
    Differences,
    Label,
    Layer,
    Model,
    Prediction,
    ReceptiveField,
    reductions,
    tables,
)
from strata_client.inspection import Inspection
from strata_client.reductions import Reduce
from strata_client.tables import Screen

FLOAT32 = np.dtype("float32")
DIGITS = Description(
    name="digits",
    version="1",
    digest="",
    inputs=("image",),
    layers=(
        Layer("image", "InputLayer", (-1, 28, 28, 1), FLOAT32, 0, 0, 0, default_exit=False),
        Layer("conv1", "Conv2D", (-1, 28, 28, 25), FLOAT32, 250, 176_400, 1, default_exit=False),
        Layer("codes", "Embedding", (-1, -1, 8), np.dtype("int64"), 0, 0, 1, default_exit=False),
        Layer("predictions", "Dense", (-1, 10), FLOAT32, 1290, 1280, 2, default_exit=True),
    ),
    classes=tuple("0123456789"),
    preprocessing=None,
    training=None,
)


def inspect(
    layers: dict[str, npt.NDArray[Any]],
    reduce: Reduce = "none",
    channels: dict[str, Any] | None = None,
    predictions: tuple[Prediction, ...] = (),
) -> Inspection:
    activations = Activations("digits", "1", layers, channels or {}, predictions)
    return Inspection(DIGITS, activations, reductions.resolve(reduce, list(layers)))


def terminal(width: int = 80, encoding: str = "utf-8") -> tuple[Screen, io.TextIOWrapper]:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=file, force_terminal=True, width=width, markup=False, emoji=False, highlight=False)
    return Screen(console), file


def text_of(file: io.TextIOWrapper) -> str:
    file.seek(0)
    return file.read()


def test_piped_layers_are_columns_with_numbers_at_the_right_and_a_total(capsys: pytest.CaptureFixture[str]) -> None:
    tables.show_layers(tables.open_screen(), DIGITS)
    assert capsys.readouterr().out == (
        "digits version 1: 4 layers of float32, 10 classes\n"
        "layer        kind            shape  parameters  multiply-adds  role\n"
        "image        InputLayer    28x28x1           0              0  input\n"
        "conv1        Conv2D       28x28x25         250        176,400\n"
        "codes        Embedding   int64 ?x8           0              0\n"
        "predictions  Dense              10       1,290          1,280  prediction\n"
        "total                                    1,540        177,680\n"
    )


def test_piped_lines_are_as_long_as_they_must_be(capsys: pytest.CaptureFixture[str]) -> None:
    tables.show_models(tables.open_screen(), [Model("m" * 300, "1", 9, 10**9, 10**12, 1000)])
    assert capsys.readouterr().out.splitlines()[1] == (
        "m" * 300 + "        1       9  1,000,000,000  1,000,000,000,000    1,000"
    )


def table_of(file: io.TextIOWrapper) -> list[str]:
    return re.sub(r"\x1b\[[\d;]*m", "", text_of(file)).splitlines()


@pytest.mark.parametrize("width", [90, 60, 40, 20])
def test_a_table_is_as_wide_as_its_numbers_and_a_piece_of_each_name(width: int) -> None:
    screen, file = terminal(width)
    tables.show_models(screen, [Model("a-name-" * 8, "12", 177, 25_600_000, 3_860_000_000, 1000)])
    table = table_of(file)
    assert max(map(len, table)) <= max(width, 69)  # 12 letters, the five numbers, and the gaps between them
    figures = ["12", "177", "25,600,000", "3,860,000,000", "1,000"]
    (row,) = (line.split() for line in table if line.split()[1:] == figures)
    assert row[0].endswith("-")  # a line ends where a word does
    assert "".join(line.split()[0] for line in table if "a" in line and "model" not in line) == "a-name-" * 8


def test_a_terminal_gets_blocks_and_dim_runners_up() -> None:
    screen, file = terminal()
    tables.show_predictions(screen, [("3.png", [Prediction((Label("3", 3, 0.9), Label("8", 8, 0.1)))])])
    assert "██████████████████\x1b" in text_of(file)
    assert "\x1b[2m8 0.100" in text_of(file)


def test_a_terminal_without_unicode_gets_ascii() -> None:
    screen, file = terminal(encoding="ascii")
    tables.show_predictions(screen, [("3.png", [Prediction((Label("3", 3, 0.5),))])])
    assert "##########" in text_of(file)


def test_a_pipe_gets_a_bar_of_letters_and_no_color(capsys: pytest.CaptureFixture[str]) -> None:
    answers = [
        ("3.png", [Prediction((Label("three", 3, 0.55), Label("8", 8, 0.4)))]),
        ("odd.png", [Prediction((Label("8", 8, 12.345),))]),
    ]
    tables.show_predictions(tables.open_screen(), answers)
    assert capsys.readouterr().out == (
        "file     label  score               runners-up\n"
        "3.png    three  0.550  ###########  8 0.400\n"
        "odd.png  8       12.3\n"
    )


def test_names_are_shown_and_never_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    tables.show_models(tables.open_screen(), [Model("[red]:smile:\x1b[2J", "1", 1, 0, 0, 0)])
    assert r"[red]:smile:\x1b[2J" in capsys.readouterr().out


def test_activations_are_figures_and_counts(capsys: pytest.CaptureFixture[str]) -> None:
    conv1 = np.zeros((1, 2, 2, 3), np.float32)
    conv1[..., 0] = 2
    tables.show_activations(tables.open_screen(), inspect({"conv1": conv1, "predictions": np.eye(1, 4, dtype=FLOAT32)}))
    assert capsys.readouterr().out == (
        "digits version 1\n"
        "layer        shape  min    mean  max  zeros  channels  dead\n"
        "conv1        2x2x3    0  0.6667    2  66.7%         3     2\n"
        "predictions      4    0    0.25    1  75.0%         4     3\n"
    )


def test_values_that_are_no_numbers_get_a_column_where_there_are_any(capsys: pytest.CaptureFixture[str]) -> None:
    tables.show_activations(tables.open_screen(), inspect({"codes": np.array([[np.nan, np.inf]])}))
    assert capsys.readouterr().out.splitlines()[2].endswith("1 NaN, 1 infinite")


def lines_of(inspected: Inspection, capsys: pytest.CaptureFixture[str]) -> list[str]:
    tables.show_activations(tables.open_screen(), inspected)
    return capsys.readouterr().out.splitlines()


def test_the_rows_of_a_file_of_arrays_are_numbered(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [Prediction((Label("3", 3, 0.5),)), Prediction((Label("8", 8, 0.25),))]
    tables.show_predictions(tables.open_screen(), [("a.npy", rows), ("3.png", rows[:1])])
    assert [line.split()[:3] for line in capsys.readouterr().out.splitlines()[1:]] == [
        ["a.npy", "0", "3"],
        ["a.npy", "1", "8"],
        ["3.png", "0", "3"],
    ]


def test_statistics_give_the_same_figures_as_the_whole_activation(capsys: pytest.CaptureFixture[str]) -> None:
    conv1 = np.random.default_rng(3).normal(size=(2, 4, 4, 3)).astype(np.float32)
    conv1[..., 1] = 0
    space = conv1.reshape(2, -1, 3)
    five = [space.mean(1), space.std(1), space.min(1), space.max(1), (space == 0).mean(1)]
    whole = lines_of(inspect({"conv1": conv1}), capsys)[2].split()
    reduced = lines_of(inspect({"conv1": np.stack(five, axis=1)}, "statistics"), capsys)[2].split()
    assert (whole[1], reduced[1]) == ("4x4x3", "5x3")
    assert whole[2:] == reduced[2:]
    assert whole[-2:] == ["3", "1"]  # channels, dead


def test_top_channels_of_a_vector_are_named_with_their_values(capsys: pytest.CaptureFixture[str]) -> None:
    top = inspect({"codes": np.array([[3.5, 1.25]])}, "top:2", {"codes": np.array([[7, 2]], np.int32)})
    header, row = lines_of(top, capsys)[1:]
    assert header.endswith("largest")
    assert row.endswith("7 3.5, 2 1.25")
    assert row.split()[1] == "2"


def test_top_channels_of_maps_are_named_with_their_share_of_the_places(capsys: pytest.CaptureFixture[str]) -> None:
    channels = np.array([[[[4, 1], [4, 2]], [[4, 2], [0, 4]]]], np.int32)  # 2x2 places, the two largest of each
    top = inspect({"conv1": np.ones(channels.shape)}, "top:2", {"conv1": channels})
    assert lines_of(top, capsys)[2].endswith("4 100%, 2 50%, 0 25%, 1 25%")


def test_top_labels_are_named_with_their_scores(capsys: pytest.CaptureFixture[str]) -> None:
    top = inspect(
        {"conv1": np.ones((1, 2, 2, 25)), "predictions": np.array([[0.75]])},
        {"predictions": "labels:1"},
        {"predictions": np.array([[3]], np.int32)},
        (Prediction((Label("three", 3, 0.75),)),),
    )
    conv1, predictions = lines_of(top, capsys)[2:]
    assert predictions.endswith("three 0.750")
    assert conv1.split()[-2:] == ["25", "0"]


@pytest.mark.parametrize(("width", "beside"), [(60, False), (120, True)])
def test_the_largest_have_lines_of_their_own_where_there_is_no_room(width: int, *, beside: bool) -> None:
    screen, file = terminal(width)
    top = inspect({"codes": np.array([[3.5, 1.25]])}, "top:2", {"codes": np.array([[7, 2]], np.int32)})
    tables.show_activations(screen, top)
    assert ("codes, largest: 7 3.5, 2 1.25" in table_of(file)) != beside
    assert any("largest" in line and "shape" in line for line in table_of(file)) == beside


def test_a_name_that_has_no_room_is_folded_where_its_words_end() -> None:
    screen, file = terminal(64)
    layer = replace(DIGITS.layers[1], name="feature_extractor/conv2_block1_1_conv", kind="BatchNormalization")
    tables.show_layers(screen, replace(DIGITS, layers=(layer,)))
    pieces = [line.split()[0] for line in table_of(file) if line.strip() and line.split()[0] in layer.name]
    assert "".join(pieces) == layer.name
    assert all(piece.endswith(("_", "/", "conv")) for piece in pieces)
    assert len(pieces) > 1


def test_channels_are_counted_where_the_catalog_says_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    conv1 = np.ones((1, 3, 8, 8), np.float32)
    conv1[:, 1] = 0
    layer = Layer("conv1", "Conv", (-1, 3, 8, 8), FLOAT32, 0, 0, 1, default_exit=False, channel_axis=1)
    first = replace(inspect({"conv1": conv1}), description=replace(DIGITS, layers=(layer,)))
    assert lines_of(first, capsys)[2].split()[-2:] == ["3", "1"]
    pooled = replace(first, activations=Activations("digits", "1", {"conv1": conv1.mean((2, 3))}))
    assert lines_of(pooled, capsys)[2].split()[-2:] == ["3", "1"]


def test_a_layer_of_unknown_shape_has_a_place_in_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    odd = Layer("odd", "NonZero", None, FLOAT32, 0, 0, 1, default_exit=False)
    tables.show_layers(tables.open_screen(), replace(DIGITS, layers=(*DIGITS.layers, odd)))
    assert capsys.readouterr().out.splitlines()[-2].split() == ["odd", "NonZero", "any", "0", "0"]


SEEING = replace(
    DIGITS,
    layers=(
        replace(DIGITS.layers[0], receptive_field=ReceptiveField((1, 1), (1, 1))),
        replace(DIGITS.layers[1], receptive_field=ReceptiveField((14, 14), (4, 4))),
        replace(DIGITS.layers[2], receptive_field=ReceptiveField((5, 7), (1, 2))),
    ),
)


def test_what_a_place_sees_is_shown_with_its_steps(capsys: pytest.CaptureFixture[str]) -> None:
    tables.show_layers(tables.open_screen(), SEEING)
    lines = capsys.readouterr().out.splitlines()
    assert (lines[1].split()[-2:], lines[2].split()[-2:]) == (["sees", "role"], ["0", "input"])
    assert (lines[3].split()[-3:], lines[4].split()[-3:]) == (["14x14", "by", "4"], ["5x7", "by", "1x2"])


@pytest.mark.parametrize(("width", "shown"), [(70, False), (120, True)])
def test_what_a_place_sees_is_left_out_where_there_is_no_room(width: int, *, shown: bool) -> None:
    screen, file = terminal(width)
    tables.show_layers(screen, SEEING)
    assert ("14x14 by 4" in text_of(file)) == shown


def differences(*layers: Difference, only_b: tuple[str, ...] = ()) -> Differences:
    return Differences("a:1", "b:2", 3, 1e-3, layers, (), only_b, (), ())


def test_differences_are_a_table_that_ends_in_the_layer_that_is_first_past(capsys: pytest.CaptureFixture[str]) -> None:
    shown = differences(
        Difference("conv1", "Conv2D", 1e-6, 1e-8, 2.0, past=False),
        Difference("conv2", "Conv2D", 0.5, 0.125, 10.0, past=True),
        Difference("odd", "NonZero", np.nan, np.nan, np.nan, past=False, error="cannot be computed"),
        Difference("dense", "Dense", np.inf, np.inf, 1.0, past=True),
        only_b=("x", "y"),
    )
    tables.show_differences(tables.open_screen(), shown)
    assert capsys.readouterr().out == (
        "a:1 and b:2: 3 rows\n"
        "layer  kind     largest   mean  relative\n"
        "conv1  Conv2D     1e-06  1e-08     5e-07\n"
        "conv2  Conv2D       0.5  0.125      0.05  <- first past\n"
        "odd    NonZero                            cannot be computed\n"
        "dense  Dense        inf    inf       inf  past\n"
        "not compared, only b:2 has 2 layers: x, y\n"
        "first past the tolerance, 0.001 of a layer's largest magnitude: conv2 (Conv2D), 2 of 4; "
        "1 layer could not be compared\n"
    )


def test_differences_within_the_tolerance_are_said_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    tables.show_differences(tables.open_screen(), differences(Difference("a", "Relu", 0.0, 0.0, 0.0, past=False)))
    assert capsys.readouterr().out.splitlines()[-1] == (
        "all within the tolerance, 0.001 of a layer's largest magnitude: 1 layer"
    )
