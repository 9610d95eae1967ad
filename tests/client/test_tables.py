import io
import re

import numpy as np
import pytest
from rich.console import Console
from strata_client import Description, Label, Layer, Model, Prediction, tables
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


def test_a_narrow_terminal_folds_names_and_keeps_numbers_whole() -> None:
    screen, file = terminal(width=56)
    tables.show_layers(screen, DIGITS)
    table = re.sub(r"\x1b\[[\d;]*m", "", text_of(file)).splitlines()[1:]
    assert max(map(len, table)) <= 56
    assert "176,400" in text_of(file)
    assert "177,680" in text_of(file)


def test_a_terminal_gets_blocks_and_dim_runners_up() -> None:
    screen, file = terminal()
    tables.show_predictions(screen, [("3.png", Prediction((Label("3", 3, 0.9), Label("8", 8, 0.1))))])
    assert "██████████████████\x1b" in text_of(file)
    assert "\x1b[2m8 0.100" in text_of(file)


def test_a_terminal_without_unicode_gets_ascii() -> None:
    screen, file = terminal(encoding="ascii")
    tables.show_predictions(screen, [("3.png", Prediction((Label("3", 3, 0.5),)))])
    assert "##########" in text_of(file)


def test_a_pipe_gets_a_bar_of_letters_and_no_color(capsys: pytest.CaptureFixture[str]) -> None:
    answers = [
        ("3.png", Prediction((Label("three", 3, 0.55), Label("8", 8, 0.4)))),
        ("odd.png", Prediction((Label("8", 8, 12.345),))),
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
    tables.show_activations(tables.open_screen(), DIGITS, {"conv1": conv1, "predictions": np.eye(1, 4, dtype=FLOAT32)})
    assert capsys.readouterr().out == (
        "digits version 1\n"
        "layer        shape  min    mean  max  zeros  channels  dead\n"
        "conv1        2x2x3    0  0.6667    2  66.7%         3     2\n"
        "predictions      4    0    0.25    1  75.0%         4     3\n"
    )


def test_values_that_are_no_numbers_get_a_column_where_there_are_any(capsys: pytest.CaptureFixture[str]) -> None:
    tables.show_activations(tables.open_screen(), DIGITS, {"codes": np.array([[np.nan, np.inf]])})
    assert capsys.readouterr().out.splitlines()[2].endswith("1 NaN, 1 infinite")
