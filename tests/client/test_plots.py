from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from PIL import Image
from strata_client import Description, Label, Layer, Prediction, Reduction, plots
from strata_client.formats import format_number
from strata_client.plots.page import BODY_LEFT, WIDTH

RANDOM = np.random.default_rng(5)
HOSTILE = "evil\x1b[31m $\\frac{1}{0}$ \u202e" + "long" * 40


def maps(*shape: int) -> npt.NDArray[np.float32]:
    return RANDOM.random((1, *shape), np.float32)


def texts_of(figure: Figure) -> list[str]:
    """Everything that is written on a figure."""
    texts = [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]
    return [text.get_text() for text in texts if text.get_text()]


def tiles_of(figure: Figure) -> list[AxesImage]:
    """The pictures in the column of the bodies, from left to right and top to bottom."""
    bodies = [axes for axes in figure.axes if is_body(axes)]
    return [image for axes in bodies for image in axes.images]


def is_body(axes: Axes) -> bool:
    return bool(abs(axes.get_position().x0 * WIDTH - BODY_LEFT) < 0.01)


def describe(*layers: Layer, classes: tuple[str, ...] = ()) -> Description:
    return Description("digits", "7", "", ("image",), layers, classes, None, None)


def test_a_page_says_what_the_network_saw_and_answered() -> None:
    figure = plots.draw(
        {"conv1": maps(8, 8, 4)},
        description=describe(Layer("conv1", "Conv2D", (-1, 8, 8, 4), np.dtype("f4"), 0, 0, 1, default_exit=False)),
        seen=maps(28, 28, 1),
        prediction=Prediction((Label("three", 3, 0.875), Label("eight", 8, 0.125))),
        source="3.png",
    )
    texts = texts_of(figure)
    assert {"digits version 7", "3.png", "image 28x28x1, as the network saw it"} <= set(texts)
    assert texts.count("three") == 2  # the answer, and the first of the ranking
    assert texts.count("0.875") == 2
    assert {"eight", "0.125"} <= set(texts)
    assert "Conv2D; all 4, sorted by mean |activation| over the map" in texts


def test_channels_stand_sorted_by_activity_with_dead_ones_counted_and_left_out() -> None:
    activation = np.zeros((1, 4, 4, 5), np.float32)
    for channel, value in {0: 0.5, 2: 3.0, 4: 1.0}.items():
        activation[0, 0, 0, channel] = value * 16
    figure = plots.draw({"conv1": activation})
    texts = texts_of(figure)
    assert "conv1   4x4x5: 5 channels, 2 dead" in texts
    assert "all 3 that are not dead, sorted by mean |activation| over the map" in texts
    assert "2 dead" in texts
    labels = [text for text in texts if text in {"0", "1", "2", "3", "4", "0.50", "3.00", "1.00"}]
    assert labels == ["2", "3.00", "4", "1.00", "0", "0.50"]


def test_the_maps_of_a_layer_share_one_scale_with_numbers() -> None:
    figure = plots.draw({"conv1": maps(6, 6, 9) * 5, "conv2": -maps(6, 6, 2)})
    first, second = (slice(0, 9), slice(9, 11))
    tiles = tiles_of(figure)
    assert len(tiles) == 11
    assert len({id(tile.norm) for tile in tiles[first]}) == 1
    assert (tiles[0].norm.vmin, tiles[0].get_cmap().name) == (0, "viridis")
    low, high = tiles[second][0].get_clim()
    assert low == -high
    numbers = [label.get_text() for axes in figure.axes for label in axes.get_yticklabels()]
    assert {format_number(float(high)), format_number(float(low)), "0"} <= set(numbers)


def test_of_many_channels_the_most_active_are_shown_and_the_rest_is_counted() -> None:
    activation = maps(7, 7, 2048)
    activation[..., :48] = 0
    figure = plots.draw({"top": activation})
    assert len(tiles_of(figure)) == 24
    assert "top   7x7x2048: 2,048 channels, 48 dead" in texts_of(figure)
    assert any(text.endswith("over the map; 1,976 more are not shown") for text in texts_of(figure))


def test_a_vector_shows_its_most_active_units_not_all_of_them() -> None:
    vector = np.zeros((1, 2450), np.float32)
    vector[0, 100:200] = np.arange(100)
    texts = texts_of(plots.draw({"flatten": vector}))
    assert "flatten   2450: 2,450 units, 2,351 dead" in texts
    assert "the 24 most active, sorted by |activation|; 75 more are not shown" in texts
    assert [text for text in texts if text.isdigit()][:2] == ["199", "198"]


def test_classes_are_ranked_by_score_and_none_is_dead() -> None:
    layer = Layer("predictions", "Dense", (-1, 3), np.dtype("f4"), 0, 0, 1, default_exit=True)
    figure = plots.draw(
        {"predictions": np.array([[-9, 0, 4]], np.float32)},
        description=describe(layer, classes=("cat", "dog", "fish")),
    )
    texts = texts_of(figure)
    assert "predictions   3: 3 classes" in texts
    assert [text for text in texts if text in {"cat", "dog", "fish"}] == ["fish", "dog", "cat"]


def test_values_that_are_no_numbers_are_counted() -> None:
    activation = maps(6, 6, 3)
    activation[0, :2, 0, 0] = np.nan
    activation[0, 0, 0, 1] = np.inf
    assert "2 NaN, 1 infinite" in texts_of(plots.draw({"conv1": activation}))


def test_where_everything_is_dead_the_page_says_so() -> None:
    assert "every one of the 30 channels is dead" in texts_of(plots.draw({"conv1": np.zeros((1, 6, 6, 30))}))


ODD: dict[str, npt.NDArray[Any]] = {
    "one channel": maps(5, 5, 1),
    "a constant": np.full((1, 5, 5, 2), 2.5, np.float32),
    "all NaN": np.full((1, 5, 5, 2), np.nan, np.float32),
    "a NaN unit": np.array([[np.nan, 1, -np.inf]], np.float32),
    "one number": np.ones((1,), np.float32),
    "one unit": np.ones((1, 1), np.float32),
    "one pixel": maps(1, 1, 40),
    "a sequence": maps(50, 20) - 0.5,
    "a volume": maps(3, 4, 5, 6),
    "very wide": maps(2, 500, 3),
    "very tall": maps(500, 2, 3),
    "tiny numbers": maps(4, 4, 2) * 1e-30,
    "huge numbers": maps(4, 4, 2) * 1e30,
    "half precision": maps(4, 4, 2).astype(np.float16),
    "integers": np.arange(32).reshape(1, 4, 4, 2),
    "booleans": RANDOM.random((1, 9)) > 0.5,
    HOSTILE: maps(4, 4, 2),
}


@pytest.mark.parametrize("name", ODD)
def test_no_activation_is_too_odd_to_be_drawn(tmp_path: Path, name: str) -> None:
    plots.save(plots.draw({name: ODD[name]}), tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as image:
        assert image.width == 1560


@pytest.mark.parametrize(
    "seen", [maps(9, 9, 3), maps(9, 9, 5), maps(9, 9), maps(784), maps(30, 1), np.full((1, 9, 9, 1), np.nan), maps(1)]
)
def test_no_input_is_too_odd_to_be_drawn(tmp_path: Path, seen: npt.NDArray[Any]) -> None:
    prediction = Prediction((Label(HOSTILE, 0, -3.0), Label("猫", 1, -4.0)))
    plots.save(plots.draw({"a": maps(3)}, seen=seen, prediction=prediction, source=HOSTILE), tmp_path / "out.png")
    assert (tmp_path / "out.png").stat().st_size > 10_000


def test_the_row_that_is_asked_is_drawn() -> None:
    values = np.array([[1, 0, 0], [0, 0, 2]], np.float32)
    assert "a   3: 3 units, 2 dead" in texts_of(plots.draw({"a": values}, row=1))
    assert "2.00" in texts_of(plots.draw({"a": values}, row=1))


def test_hostile_names_are_escaped_shortened_and_no_formulas() -> None:
    figure = plots.draw({HOSTILE: maps(4, 4, 2)}, source=HOSTILE)
    texts = texts_of(figure)
    assert not any("\x1b" in text or "\u202e" in text for text in texts)
    assert max(len(text) for text in texts if text.startswith("evil")) < 80
    assert not any(text.get_parse_math() for text in figure.texts)


def test_nothing_overlaps_on_a_page_of_long_names() -> None:
    classes = tuple(f"a class with a rather long name, number {number}" for number in range(1000))
    scores = RANDOM.dirichlet(np.ones(1000))[None].astype(np.float32)
    layer = Layer("predictions", "Dense", (-1, 1000), np.dtype("f4"), 0, 0, 1, default_exit=True)
    figure = plots.draw(
        {HOSTILE: maps(14, 14, 2048), "predictions": scores, "units": maps(4000) * 1e-9, "sequence": maps(9, 2000)},
        description=describe(layer, classes=classes),
        seen=maps(64, 64, 3),
        prediction=Prediction(tuple(Label(classes[place], place, 0.01) for place in range(5))),
        source=HOSTILE,
    )
    figure.canvas.draw()
    texts = [text for text in [*figure.texts, *(one for axes in figure.axes for one in axes.texts)] if text.get_text()]
    boxes = [text.get_window_extent() for text in texts]
    page = figure.bbox
    for place, box in enumerate(boxes):
        assert page.x0 <= box.x0, texts[place]
        assert box.x1 <= page.x1, texts[place]
        for other in range(place):
            assert not box.padded(-1).overlaps(boxes[other].padded(-1)), (texts[place], texts[other])


@pytest.mark.parametrize("ending", plots.FORMATS)
def test_a_figure_is_written_in_the_format_its_name_says(tmp_path: Path, ending: str) -> None:
    plots.save(plots.draw({"a": maps(3)}), tmp_path / f"out.{ending}")
    starts = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
    assert (tmp_path / f"out.{ending}").read_bytes().startswith(starts[ending])


def test_drawing_leaves_the_callers_settings_alone() -> None:
    with mpl.rc_context({"font.size": 3.0, "text.parse_math": True, "axes.facecolor": "red"}):
        figure = plots.draw({"a": maps(4, 4, 2)})
        assert mpl.rcParams["font.size"] == 3.0
        assert mpl.rcParams["text.parse_math"] is True
    assert figure.axes[0].get_facecolor() == (1, 1, 1, 1)


def test_channels_that_stand_first_are_drawn_as_those_that_stand_last() -> None:
    last, seen = maps(5, 7, 3), maps(9, 11, 3)
    first, seen_first = (np.moveaxis(values, -1, 1) for values in (last, seen))
    kind = (np.dtype("f4"), 0, 0, 0)
    by_layout = [
        plots.draw(
            {"conv1": values},
            description=describe(
                Layer("image", "Input", picture.shape, *kind, default_exit=False, channel_axis=axis),
                Layer("conv1", "Conv", values.shape, *kind, default_exit=False, channel_axis=axis),
            ),
            seen=picture,
        )
        for values, picture, axis in ((last, seen, 3), (first, seen_first, 1))
    ]
    for one, other in zip(*map(tiles_of, by_layout), strict=True):
        np.testing.assert_array_equal(one.get_array(), other.get_array())
    assert len(tiles_of(by_layout[1])) == 3
    assert "conv1   3x5x7: 3 channels" in texts_of(by_layout[1])
    assert any(text.startswith("image 3x9x11, as the network saw it") for text in texts_of(by_layout[1]))


def test_what_was_done_to_a_layer_stands_beside_its_kind() -> None:
    layer = Layer("conv1", "Conv2D", (-1, 8, 8, 4), np.dtype("f4"), 0, 0, 1, default_exit=False, channel_axis=3)
    reductions = {"conv1": Reduction(pooling="mean"), "conv2": Reduction(half=True)}
    activations = {"conv1": maps(4), "conv2": maps(3, 3, 2), "conv3": maps(3, 3, 2)}
    texts = texts_of(plots.draw(activations, description=describe(layer), reductions=reductions))
    assert any(text.startswith("Conv2D, reduced by mean; all 4") for text in texts)
    assert any(text.startswith("reduced by half; all 2") for text in texts)
    assert sum("reduced" in text for text in texts) == 2
