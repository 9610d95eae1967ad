"""The digits, how they are divided, and the moved ones."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from strata_training import data
from strata_training.augmentation import add_shifted
from strata_training.data import DataSet
from strata_training.errors import NotFound


@pytest.fixture(scope="module")
def digits() -> DataSet:
    return data.load("digits")


def test_the_digits_are_1797_grayscale_pictures_of_28_by_28(digits: DataSet) -> None:
    assert digits.inputs.shape == (1797, 28, 28, 1)
    assert digits.inputs.dtype == np.uint8
    assert digits.labels.shape == (1797,)
    assert digits.classes == tuple("0123456789")


def test_a_digit_is_the_small_one_in_blocks_of_three_within_a_border(digits: DataSet) -> None:
    border = np.ones((28, 28), bool)
    border[2:-2, 2:-2] = False
    assert not digits.inputs[:, border].any()
    blocks = digits.inputs[:, 2:-2, 2:-2, 0].reshape(-1, 8, 3, 8, 3)
    assert (blocks == blocks[:, :, :1, :, :1]).all()
    small = load_digits().images
    np.testing.assert_array_equal(blocks[:, :, 0, :, 0], np.round(small * 255 / 16))
    assert digits.inputs.max() == 255


def test_the_digest_changes_with_a_pixel_and_with_a_label(digits: DataSet) -> None:
    pixels, labels = digits.inputs.copy(), digits.labels.copy()
    pixels[0, 14, 14] ^= 1
    labels[0] = (labels[0] + 1) % 10
    other_pixels = DataSet("digits", pixels, digits.labels, digits.classes)
    other_labels = DataSet("digits", digits.inputs, labels, digits.classes)
    assert len({digits.digest, other_pixels.digest, other_labels.digest}) == 3
    assert digits.digest == data.load("digits").digest


def test_no_picture_is_in_two_parts_and_none_is_left_out(digits: DataSet) -> None:
    parts = data.split(digits, seed=0)
    together = np.concatenate([parts.training, parts.validation, parts.test])
    np.testing.assert_array_equal(np.sort(together), np.arange(1797))


def test_a_fifth_or_more_is_held_out(digits: DataSet) -> None:
    assert len(data.split(digits, seed=0).test) / 1797 >= 0.2


def test_each_part_has_the_classes_in_the_same_shares(digits: DataSet) -> None:
    whole = np.bincount(digits.labels) / 1797
    parts = data.split(digits, seed=3)
    for part in (parts.training, parts.validation, parts.test):
        # A share can be off by one picture for the rounding.
        shares = np.bincount(digits.labels[part]) / len(part)
        np.testing.assert_allclose(shares, whole, atol=1 / len(part))


def test_the_same_seed_gives_the_same_split_and_another_seed_another(digits: DataSet) -> None:
    first, again, other = (data.split(digits, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.training, again.training)
    np.testing.assert_array_equal(first.test, again.test)
    assert not np.array_equal(first.test, other.test)


def test_an_unknown_data_set_is_told_with_the_nearest_names() -> None:
    with pytest.raises(NotFound, match=r"unknown data set 'digit'; nearest: 'digits'"):
        data.load("digit")


def test_a_moved_picture_is_moved_in_four_directions_and_filled_with_zeros() -> None:
    picture = np.arange(1, 10, dtype=np.uint8).reshape(1, 3, 3, 1)
    moved, labels = add_shifted(picture, np.array([4]), 1)
    assert labels.tolist() == [4] * 5
    assert moved[..., 0].tolist() == [
        [[1, 2, 3], [4, 5, 6], [7, 8, 9]],
        [[0, 1, 2], [0, 4, 5], [0, 7, 8]],
        [[2, 3, 0], [5, 6, 0], [8, 9, 0]],
        [[0, 0, 0], [1, 2, 3], [4, 5, 6]],
        [[4, 5, 6], [7, 8, 9], [0, 0, 0]],
    ]


def test_moving_by_nothing_shows_each_picture_once(digits: DataSet) -> None:
    images, labels = add_shifted(digits.inputs, digits.labels, 0)
    assert len(images) == len(labels) == 1797
