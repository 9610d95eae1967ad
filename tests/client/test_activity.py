import numpy as np
import pytest
from strata_client.activity import TopChannel, count_top, measure, measure_statistics


def test_channels_are_ranked_by_their_mean_magnitude_and_dead_ones_left_out() -> None:
    activation = np.zeros((1, 2, 2, 4), np.float32)
    activation[0, ..., 1] = [[1, 2], [3, 4]]
    activation[0, ..., 2] = -5
    activation[0, 0, 0, 3] = 0.5
    activity = measure(activation)
    assert activity.strengths.tolist() == [0, 2.5, 5, 0.125]
    assert activity.rank().tolist() == [2, 1, 3]
    assert (activity.channel_count, activity.dead_count) == (4, 1)
    assert (activity.smallest, activity.largest) == (-5, 4)
    assert activity.zero_share == 7 / 16


def test_a_channel_is_dead_only_where_every_row_is() -> None:
    activity = measure(np.array([[0, 0, 1], [0, 2, 0]], np.float32))
    assert activity.dead.tolist() == [True, False, False]


def test_values_that_are_no_numbers_are_counted_and_left_out_of_the_figures() -> None:
    activity = measure(np.array([[np.nan, 1, -np.inf, 3], [0, np.nan, np.inf, 3]], np.float16))
    assert (activity.nan_count, activity.infinite_count) == (2, 2)
    assert (activity.smallest, activity.mean, activity.largest) == (0, 1.75, 3)
    assert activity.odd == "2 NaN, 2 infinite"
    assert activity.dead_count == 0  # NaN is not 0


def test_where_no_value_is_a_number_there_are_no_figures() -> None:
    activity = measure(np.full((1, 3), np.nan, np.float32))
    assert np.isnan([activity.smallest, activity.mean, activity.largest]).all()
    assert activity.strengths.tolist() == [0, 0, 0]


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int64", "float16", "float64"])
def test_every_type_of_number_is_measured(dtype: str) -> None:
    activity = measure(np.array([[0, 1, 1]]).astype(dtype))
    assert (activity.largest, activity.dead_count) == (1, 1)


def test_the_smallest_integer_has_a_magnitude() -> None:
    assert measure(np.array([[-128]], np.int8)).strengths.tolist() == [128]


@pytest.mark.parametrize("shape", [(2,), (1, 1), (1, 1, 1, 1)])
def test_a_single_number_for_a_row_is_one_channel(shape: tuple[int, ...]) -> None:
    assert measure(np.ones(shape, np.float32)).channel_count == 1


def test_channels_may_stand_first() -> None:
    activation = np.zeros((2, 3, 4, 5), np.float32)
    activation[:, 2] = 1
    activity = measure(activation, axis=1)
    assert (activity.strengths.tolist(), activity.dead.tolist()) == ([0, 0, 1], [True, True, False])


def test_statistics_say_which_channels_are_dead_and_which_have_no_mean() -> None:
    # Of a row: mean, deviation, minimum, maximum, share of zeros; the channels are dead, alive and NaN.
    row = [[0, 2, np.nan], [0, 1, np.nan], [0, 1, np.nan], [0, 3, np.nan], [1, 0, 0.5]]
    activity = measure_statistics(np.array([row], np.float16))
    assert (activity.smallest, activity.mean, activity.largest) == (0, 1, 3)
    assert activity.dead.tolist() == [True, False, False]
    assert (activity.zero_share, activity.odd) == (0.5, "1 NaN")


def test_top_channels_are_counted_over_rows_and_places() -> None:
    channels = np.array([[[5, 5], [1, 2]], [[5, 1], [2, 5]]], np.int32)  # two rows, the two largest, two places
    values = np.array([[[4, 8], [1, 1]], [[6, 7], [2, 1]]], np.float16)
    assert count_top(values, channels, axis=1) == [
        TopChannel(5, 1.0, 4.75),
        TopChannel(1, 0.5, 4.0),
        TopChannel(2, 0.5, 1.5),
    ]
