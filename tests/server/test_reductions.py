import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from strata_server.elements import BFLOAT16
from strata_server.errors import InvalidArgument
from strata_server.reducing import Reduced, reduce
from strata_server.reductions import (
    WHOLE,
    Pooling,
    Reduction,
    Step,
    applicable_steps,
    check_reduction,
    reduced_bytes,
    reduced_dtype,
    reduced_shape,
    space_axes,
)
from strata_server.tensors import Array

FLOAT32 = np.dtype(np.float32)
FLOATS = ["float16", "float32", "float64"]
DTYPES = [*FLOATS, "bool", "int8", "uint8", "int64", "uint64"]
LAYER, OPEN = (-1, 6, 7, 5), (-1, -1, 7, -1)


def values(dtypes: list[str] = DTYPES, min_dims: int = 2, max_dims: int = 4) -> st.SearchStrategy[Array]:
    """Return activations that hold every kind of value: ties, NaN, infinities, zeros of both signs."""
    shapes = hnp.array_shapes(min_dims=min_dims, max_dims=max_dims, min_side=1, max_side=5)
    return st.tuples(st.sampled_from(dtypes), shapes).flatmap(
        lambda drawn: hnp.arrays(np.dtype(drawn[0]), drawn[1], elements=elements(np.dtype(drawn[0])))
    )


def elements(dtype: np.dtype[np.generic]) -> st.SearchStrategy[object]:
    if dtype.kind != "f":
        return hnp.from_dtype(dtype)
    # The sum of larger float64 is infinite in one order and finite in another.
    whole = hnp.from_dtype(dtype, min_value=-1e100, max_value=1e100) if dtype.itemsize == 8 else hnp.from_dtype(dtype)
    return st.sampled_from([0.0, -0.0, 1.0, -2.5, math.nan, -math.nan, math.inf, -math.inf]) | whole


@st.composite
def activations(draw: st.DrawFn, dtypes: list[str] = DTYPES, min_dims: int = 2) -> tuple[Array, int]:
    """Draw an activation and its channel axis."""
    value = draw(values(dtypes, min_dims))
    return value, draw(st.integers(1, value.ndim - 1))


@st.composite
def requests(draw: st.DrawFn) -> tuple[Array, int, Reduction]:
    """Draw an activation, its channel axis and a reduction that it has."""
    value, axis = draw(activations())
    steps = applicable_steps(value.shape, axis, value.dtype, is_prediction=value.ndim == 2)
    figures = Step.STATISTICS in steps and draw(st.booleans())
    labels = Step.TOP_LABELS in steps and draw(st.booleans())
    space = space_axes(value.ndim, axis)
    reduction = Reduction(
        channels=None if labels else draw(st.none() | ranges(value.shape[axis])),
        space=draw(st.just(()) | st.tuples(*(ranges(value.shape[a]) for a in space))),
        pooling=None if figures or Step.POOLING not in steps else draw(st.none() | st.sampled_from(Pooling)),
        statistics=figures,
        top_channels=0 if figures or labels else draw(st.integers(0, 7)),
        top_labels=draw(st.integers(1, 7)) if labels else 0,
        half=Step.HALF in steps and draw(st.booleans()),
    )
    check_reduction("x", reduction, value.shape, axis, value.dtype, is_prediction=value.ndim == 2)
    return value, axis, reduction


def ranges(size: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.integers(0, size - 1).flatmap(lambda start: st.tuples(st.just(start), st.integers(start + 1, size)))


def channels_last(value: Array, axis: int) -> Array:
    """Return (rows, places, channels)."""
    moved = np.moveaxis(value, axis, -1)
    return moved.reshape(len(value), -1, moved.shape[-1])


def same(left: object, right: object) -> bool:
    return bool(left == right) or (left != left and right != right)  # noqa: PLR0124 -- NaN differs from itself


@given(activations())
def test_nothing_asked_returns_the_very_same_array(activation: tuple[Array, int]) -> None:
    value, axis = activation
    assert reduce("x", WHOLE, value, axis) == Reduced(value, None)
    assert reduce("x", WHOLE, value, axis).value is value
    assert reduce("x", WHOLE, value, 0).value is value


@given(requests())
def test_what_was_priced_is_what_is_sent(request: tuple[Array, int, Reduction]) -> None:
    value, axis, reduction = request
    reduced = reduce("x", reduction, value, axis)
    assert reduced.value.shape == reduced_shape(reduction, value.shape, axis)
    assert reduced.value.dtype == reduced_dtype(reduction, value.dtype)
    beside = 0 if reduced.channels is None else reduced.channels.nbytes
    assert reduced.value.nbytes + beside == reduced_bytes(reduction, value.shape, axis, value.dtype)
    assert (reduced.channels is not None) == bool(reduction.top)


@given(requests())
def test_steps_are_done_in_the_order_of_the_fields(request: tuple[Array, int, Reduction]) -> None:
    value, axis, reduction = request
    whole = reduce("x", reduction, value, axis)
    steps = [
        Reduction(channels=reduction.channels),
        Reduction(space=reduction.space),
        Reduction(pooling=reduction.pooling),
        Reduction(statistics=reduction.statistics),
        Reduction(top_channels=reduction.top),
        Reduction(half=reduction.half),
    ]
    channels = None
    for step in steps:
        reduced = reduce("x", step, value, axis)
        value, axis = reduced.value, 1 if step.pooling else axis
        channels = channels if reduced.channels is None else reduced.channels
    np.testing.assert_array_equal(whole.value, value)
    if whole.channels is not None and channels is not None:
        offset = reduction.channels[0] if reduction.channels else 0
        np.testing.assert_array_equal(whole.channels, channels + offset)


@given(requests())
def test_ranges_are_cut_as_numpy_cuts(request: tuple[Array, int, Reduction]) -> None:
    value, axis, asked = request
    cut = Reduction(channels=asked.channels, space=asked.space)
    kept = iter(asked.space or [(0, size) for a, size in enumerate(value.shape) if a not in {0, axis}])
    index = [
        slice(*(asked.channels or (None, None))) if a == axis else slice(*next(kept)) for a in range(1, value.ndim)
    ]
    np.testing.assert_array_equal(reduce("x", cut, value, axis).value, value[(slice(None), *index)])


@given(activations(FLOATS, min_dims=3))
def test_pooling_is_the_mean_or_maximum_over_space(activation: tuple[Array, int]) -> None:
    value, axis = activation
    places = channels_last(value, axis)
    with np.errstate(all="ignore"):
        maximum, mean = places.max(1), places.mean(1, dtype=np.float64).astype(value.dtype)
    np.testing.assert_array_equal(reduce("x", Reduction(pooling=Pooling.MAX), value, axis).value, maximum)
    assert_same_sum(reduce("x", Reduction(pooling=Pooling.MEAN), value, axis).value, mean, places)


@given(activations(FLOATS, min_dims=3))
def test_statistics_are_five_figures_of_each_channel(activation: tuple[Array, int]) -> None:
    value, axis = activation
    places = channels_last(value, axis)
    figures = reduce("x", Reduction(statistics=True), value, axis).value
    exact = places.astype(np.float64)
    with np.errstate(all="ignore"):
        expected = [exact.mean(1), exact.std(1), places.min(1), places.max(1), (places == 0).mean(1)]
        expected = [figure.astype(value.dtype) for figure in expected]
    assert figures.shape == (len(value), 5, value.shape[axis])
    np.testing.assert_array_equal(figures[:, 2:], np.stack(expected[2:], axis=1))
    assert_same_sum(figures[:, :2], np.stack(expected[:2], axis=1), places)


def assert_same_sum(actual: Array, expected: Array, places: Array) -> None:
    """Assert that two float64 sums in another order, rounded to the type of the elements, agree."""
    largest = float(np.abs(places[np.isfinite(places)].astype(np.float64)).max(initial=0))
    limits = {"float16": (2e-3, 6e-8), "float32": (3e-7, 2e-45), "float64": (1e-15, 0.0)}
    relative, smallest = limits[actual.dtype.name]  # two units in the last place; the smallest number of the type
    assert_close(actual, expected, relative, smallest + largest * 1e-14)  # where large numbers cancel


def assert_close(actual: Array, expected: Array, relative: float, absolute: float = 0) -> None:
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual.astype(np.float64), expected.astype(np.float64), rtol=relative, atol=absolute)


@pytest.mark.parametrize(("shape", "axis"), [((1, 112, 112, 64), 3), ((1, 64, 112, 112), 1), ((9, 56, 56, 32), 3)])
def test_figures_of_large_layers_agree_with_float64(shape: tuple[int, ...], axis: int) -> None:
    generator = np.random.default_rng(3)
    # Far from 0: a sum in float32, or squares less the square of the mean, would lose the digits that are asserted.
    value = (generator.standard_normal(shape) + 300).astype(np.float32)
    exact = channels_last(value, axis).astype(np.float64)
    pooled = reduce("x", Reduction(pooling=Pooling.MEAN), value, axis).value
    figures = reduce("x", Reduction(statistics=True), value, axis).value
    for mean in (pooled, figures[:, 0]):
        assert_close(mean, exact.mean(1), 1e-7)  # half a unit in the last place of a float32
    assert_close(figures[:, 1], exact.std(1), 1e-7)


def test_half_precision_layers_are_summed_up_in_more() -> None:
    value = np.full((1, 300, 300, 2), 3, np.float16)  # a float16 sum would be infinite
    reduced = reduce("x", Reduction(pooling=Pooling.MEAN), value, 3).value
    assert reduced.dtype == np.float16
    assert reduced.tolist() == [[3, 3]]


@given(activations(), st.integers(1, 7))
def test_the_top_channels_are_the_largest_at_each_place(activation: tuple[Array, int], count: int) -> None:
    value, axis = activation
    reduced = reduce("x", Reduction(top_channels=count), value, axis)
    assert reduced.channels is not None
    assert reduced.channels.dtype == np.int32
    assert reduced.channels.shape == reduced.value.shape
    assert reduced.value.shape[axis] == min(count, value.shape[axis])
    triples = zip(*(channels_last(array, axis) for array in (value, reduced.value, reduced.channels)), strict=True)
    for place, best, channels in (lines for row in triples for lines in zip(*row, strict=True)):
        expected = ranked(place.tolist())[:count]
        assert channels.tolist() == expected
        assert all(same(kept, place[index]) for kept, index in zip(best, expected, strict=True))


def ranked(place: list[float]) -> list[int]:
    """Return the channels of a place, the largest first: Python's own sort is stable, and exact for integers."""
    numbers = [index for index, element in enumerate(place) if not math.isnan(element)]
    missing = [index for index, element in enumerate(place) if math.isnan(element)]
    return sorted(numbers, key=lambda index: place[index], reverse=True) + missing


def test_equal_channels_stay_in_their_order_and_nan_comes_last() -> None:
    value = np.array([[0.0, math.nan, 3.0, -0.0, 3.0, -math.inf, -math.nan]], np.float32)
    reduced = reduce("x", Reduction(top_channels=9), value, 1)
    assert reduced.channels is not None
    assert reduced.channels.tolist() == [[2, 4, 0, 3, 5, 1, 6]]


def test_indices_are_those_of_the_layer_whatever_range_was_kept() -> None:
    value = np.array([[9, 1, 3, 2, 9]], np.int8)
    reduced = reduce("x", Reduction(channels=(1, 4), top_channels=2), value, 1)
    assert reduced.channels is not None
    assert reduced.channels.tolist() == [[2, 3]]
    assert reduced.value.tolist() == [[3, 2]]


def test_half_rounds_to_the_nearest_and_overflows_to_infinity_in_silence() -> None:
    value = np.array([[65504, 65520, -1e30, 1e-30, 0.1, math.nan]], np.float32)
    half = reduce("x", Reduction(half=True), value, 1).value
    np.testing.assert_array_equal(half, np.array([[65504, math.inf, -math.inf, 0, 0.1, math.nan]], np.float16))
    assert reduce("x", Reduction(half=True), half, 1).value is half


def test_a_mean_that_float32_could_not_sum_up_is_finite() -> None:
    value = np.full((1, 4, 4, 1), 2.0**127, np.float32)
    assert reduce("x", Reduction(pooling=Pooling.MEAN), value, 3).value.tolist() == [[2.0**127]]
    figures = reduce("x", Reduction(statistics=True), -value, 3).value
    assert figures[0, :, 0].tolist() == [-(2.0**127), 0, -(2.0**127), -(2.0**127), 0]


def test_many_rows_are_described_as_each_alone() -> None:
    value = np.random.default_rng(0).normal(size=(5, 300, 300, 2)).astype(np.float32)
    alone = [reduce("x", Reduction(statistics=True), value[row : row + 1], 3).value for row in range(5)]
    np.testing.assert_array_equal(reduce("x", Reduction(statistics=True), value, 3).value, np.concatenate(alone))


@pytest.mark.parametrize(
    "reduction", [Reduction(pooling=Pooling.MEAN), Reduction(statistics=True), Reduction(top_channels=1)]
)
@pytest.mark.parametrize("shape", [(0, 2, 2, 3), (2, 2, 2, 0)])
def test_no_rows_and_no_channels_reduce_to_none(reduction: Reduction, shape: tuple[int, ...]) -> None:
    reduced = reduce("x", reduction, np.zeros(shape, np.float32), 3)
    assert reduced.value.shape == reduced_shape(reduction, shape, 3)
    assert reduced.value.size == 0


ALL_BUT_LABELS = (Step.CHANNELS, Step.SPACE, Step.POOLING, Step.STATISTICS, Step.TOP_CHANNELS, Step.HALF)


@pytest.mark.parametrize(
    ("shape", "axis", "dtype", "prediction", "steps"),
    [
        (LAYER, 3, "float32", False, ALL_BUT_LABELS),
        (OPEN, 3, "float16", False, ALL_BUT_LABELS),
        ((-1, 5, -1), 1, "float64", False, ALL_BUT_LABELS),
        (LAYER, 3, "int8", False, (Step.CHANNELS, Step.SPACE, Step.TOP_CHANNELS)),
        (LAYER, 3, "bool", False, (Step.CHANNELS, Step.SPACE, Step.TOP_CHANNELS)),
        (LAYER, 0, "float32", False, (Step.HALF,)),
        (None, 0, "float32", False, (Step.HALF,)),
        (None, 3, "int64", True, ()),
        ((), 0, "float32", False, (Step.HALF,)),
        ((-1, 10), 1, "float32", False, (Step.CHANNELS, Step.TOP_CHANNELS, Step.HALF)),
        ((-1, 10), 1, "float32", True, (Step.CHANNELS, Step.TOP_CHANNELS, Step.TOP_LABELS, Step.HALF)),
        (LAYER, 3, "float32", True, ALL_BUT_LABELS),
        ((-1, 10), 1, "object", True, ()),
        (LAYER, 3, "bfloat16", False, ALL_BUT_LABELS),
    ],
)
def test_a_layer_has_the_steps_that_mean_something_for_it(
    shape: tuple[int, ...] | None, axis: int, dtype: str, *, prediction: bool, steps: tuple[Step, ...]
) -> None:
    assert applicable_steps(shape, axis, np.dtype(dtype), is_prediction=prediction) == steps


EXAMPLES = {
    Step.CHANNELS: Reduction(channels=(0, 1)),
    Step.SPACE: Reduction(space=((0, 1), (0, 1))),
    Step.POOLING: Reduction(pooling=Pooling.MAX),
    Step.STATISTICS: Reduction(statistics=True),
    Step.TOP_CHANNELS: Reduction(top_channels=1),
    Step.TOP_LABELS: Reduction(top_labels=1),
    Step.HALF: Reduction(half=True),
}


def kinds() -> list[tuple[tuple[int, ...] | None, int, str, bool]]:
    shapes: list[tuple[int, ...] | None] = [LAYER, OPEN, (-1, 10), None]
    return list(itertools.product(shapes, (0, 1), ("float32", "int8"), (False, True)))


@pytest.mark.parametrize("step", Step)
@pytest.mark.parametrize(("shape", "axis", "dtype", "prediction"), kinds())
def test_a_step_is_refused_exactly_where_a_layer_has_it_not(
    step: Step, shape: tuple[int, ...] | None, axis: int, dtype: str, *, prediction: bool
) -> None:
    has = applicable_steps(shape, axis, np.dtype(dtype), is_prediction=prediction)
    assert EXAMPLES[step].steps == (step,)
    if step in has:
        check_reduction("x", EXAMPLES[step], shape, axis, np.dtype(dtype), is_prediction=prediction)
    else:
        names = ", ".join(known.value for known in has) or "none"
        with pytest.raises(
            InvalidArgument, match=f"^'x': the reductions of this layer are: {names}; received {step.value}$"
        ):
            check_reduction("x", EXAMPLES[step], shape, axis, np.dtype(dtype), is_prediction=prediction)


BAD_REDUCTIONS = {
    "statistics of what is pooled": (
        Reduction(pooling=Pooling.MAX, statistics=True),
        "statistics or pooling, received both",
    ),
    "the top of statistics": (Reduction(statistics=True, top_channels=2), "statistics or top_channels, received both"),
    "a negative count": (Reduction(top_channels=-1), "expected top_channels of 0 or more, received -1"),
    "a negative count of labels": (Reduction(top_labels=-1), "expected top_labels of 0 or more, received -1"),
    "a range too few": (Reduction(space=((0, 1),)), "a range for each of 2 dimensions of space, received 1"),
    "a range too many": (Reduction(space=((0, 1),) * 3), "a range for each of 2 dimensions of space, received 3"),
    "no channel": (
        Reduction(channels=(2, 2)),
        "0 <= start < stop <= 5 for a range of dimension 3, received start 2, stop 2",
    ),
    "no range": (Reduction(channels=(0, 0)), "received start 0, stop 0"),
    "channels backwards": (Reduction(channels=(3, 1)), "received start 3, stop 1"),
    "channels from the end": (Reduction(channels=(-2, 3)), "received start -2, stop 3"),
    "channels up to the end": (Reduction(channels=(0, -1)), "received start 0, stop -1"),
    "channels beyond": (Reduction(channels=(0, 6)), "received start 0, stop 6"),
    "rows beyond": (
        Reduction(space=((0, 7), (0, 1))),
        "stop <= 6 for a range of dimension 1, received start 0, stop 7",
    ),
    "columns beyond": (Reduction(space=((0, 1), (0, 8))), "stop <= 7 for a range of dimension 2"),
}


@pytest.mark.parametrize(("reduction", "reason"), BAD_REDUCTIONS.values(), ids=BAD_REDUCTIONS)
def test_a_reduction_that_cannot_be_meant_is_refused(reduction: Reduction, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=rf"^'x': .*{reason}"):
        check_reduction("x", reduction, LAYER, 3, FLOAT32, is_prediction=False)


@pytest.mark.parametrize(
    ("reduction", "reason"),
    [
        (Reduction(channels=(0, 2), top_labels=1), "top_labels or channels"),
        (Reduction(top_channels=1, top_labels=1), "top_labels or top_channels"),
    ],
)
def test_labels_are_not_mixed_with_a_part_of_the_channels(reduction: Reduction, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=f"{reason}, received both"):
        check_reduction("x", reduction, (-1, 10), 1, FLOAT32, is_prediction=True)


def test_an_open_size_is_checked_once_it_is_known() -> None:
    beyond = Reduction(channels=(0, 6), space=((0, 9), (0, 7)))
    check_reduction("x", beyond, OPEN, 3, FLOAT32, is_prediction=False)
    assert reduce("x", beyond, np.zeros((1, 9, 7, 6), np.float32), 3).value.shape == (1, 9, 7, 6)
    with pytest.raises(
        InvalidArgument, match=r"'x': .* stop <= 5 for a range of dimension 3, received start 0, stop 6"
    ):
        reduce("x", beyond, np.zeros((1, 9, 7, 5), np.float32), 3)
    with pytest.raises(
        InvalidArgument, match=r"0 <= start < stop for a range of dimension 1, received start 2, stop 1"
    ):
        check_reduction("x", Reduction(space=((2, 1), (0, 1))), OPEN, 3, FLOAT32, is_prediction=False)


@pytest.mark.parametrize("reduction", [Reduction(pooling=Pooling.MAX), Reduction(statistics=True)])
def test_figures_of_no_place_are_refused(reduction: Reduction) -> None:
    with pytest.raises(
        InvalidArgument, match=r"'x': expected at least one place in space, received shape \(1, 0, 7, 5\)"
    ):
        reduce("x", reduction, np.zeros((1, 0, 7, 5), np.float32), 3)


@pytest.mark.parametrize(
    "reduction",
    [
        Reduction(pooling=Pooling.MEAN),
        Reduction(pooling=Pooling.MAX),
        Reduction(statistics=True),
        Reduction(top_channels=2),
        Reduction(channels=(1, 3), space=((0, 2), (1, 4)), pooling=Pooling.MEAN),
    ],
)
def test_figures_of_bfloat16_are_those_of_float32_rounded(reduction: Reduction) -> None:
    value = np.random.default_rng(0).normal(size=(2, 6, 7, 5)).astype(BFLOAT16)
    value[0, 0, 0, 1] = np.nan
    found = reduce("x", reduction, value, 3)
    wide = reduce("x", reduction, value.astype(np.float32), 3)
    assert found.value.dtype == BFLOAT16
    np.testing.assert_array_equal(found.value.astype(np.float32), wide.value.astype(BFLOAT16).astype(np.float32))
    if found.channels is not None:
        np.testing.assert_array_equal(found.channels, wide.channels)
    assert reduce("x", Reduction(half=True), value, 3).value.dtype == np.float16
