import numpy as np
import pytest
from strata_client.activity import measure


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
