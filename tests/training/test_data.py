"""The bundled data, how it is divided, and the moved pictures."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from strata_training import data
from strata_training.augmentation import add_shifted
from strata_training.data import DataSet, Wanted
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


def test_the_digits_are_divided_in_proportion_and_nothing_is_moved(digits: DataSet) -> None:
    rows = np.arange(1797)
    rest, test = train_test_split(rows, test_size=0.2, stratify=digits.labels, random_state=5)
    training, validation = train_test_split(rest, test_size=0.1, stratify=digits.labels[rest], random_state=5)
    parts = data.split(digits, seed=5)
    np.testing.assert_array_equal(parts.training, training)
    np.testing.assert_array_equal(parts.validation, validation)
    np.testing.assert_array_equal(parts.test, test)


def make(*counts: int) -> DataSet:
    """Return points of classes with so many rows."""
    labels = np.repeat(np.arange(len(counts)), counts)
    return DataSet("made", np.zeros((len(labels), 2), np.float32), labels, tuple(map(str, range(len(counts)))))


@pytest.mark.parametrize("counts", [(3, 3), (3, 4), (3, 1000), (1000, 3, 3), (3,) * 50, (3, 7, 30, 200)])
@pytest.mark.parametrize("seed", range(3))
def test_each_class_is_in_each_part_from_three_rows_on(counts: tuple[int, ...], seed: int) -> None:
    dataset = make(*counts)
    parts = data.split(dataset, seed)
    for part in (parts.training, parts.validation, parts.test):
        assert np.unique(dataset.labels[part]).tolist() == list(range(len(counts)))
    together = np.concatenate([parts.training, parts.validation, parts.test])
    np.testing.assert_array_equal(np.sort(together), np.arange(sum(counts)))


def test_what_a_source_holds_out_is_the_test_part_whatever_the_seed(digits: DataSet) -> None:
    own = np.arange(1500, 1797)
    dataset = replace(digits, held_out=own)
    first, other = data.split(dataset, seed=0), data.split(dataset, seed=1)
    for parts in (first, other):
        np.testing.assert_array_equal(parts.test, own)
        assert np.union1d(parts.training, parts.validation).tolist() == list(range(1500))
    assert not np.array_equal(first.validation, other.validation)


def test_a_number_of_samples_is_taken_of_each_class_to_learn_from(digits: DataSet) -> None:
    whole, few = data.split(digits, seed=0), data.split(digits, seed=0, samples_per_class=10)
    assert np.bincount(digits.labels[few.training]).tolist() == [10] * 10
    np.testing.assert_array_equal(few.validation, whole.validation)
    np.testing.assert_array_equal(few.test, whole.test)
    # They are among those that would be learned from, in the same order, and the same each time.
    kept = np.isin(whole.training, few.training)
    np.testing.assert_array_equal(whole.training[kept], few.training)
    again, other = (data.split(digits, seed, samples_per_class=10).training for seed in (0, 1))
    np.testing.assert_array_equal(again, few.training)
    assert not np.array_equal(other, few.training)


def test_more_samples_than_there_are_is_all_of_them(digits: DataSet) -> None:
    whole, many = data.split(digits, seed=0), data.split(digits, seed=0, samples_per_class=10_000)
    np.testing.assert_array_equal(many.training, whole.training)


def test_only_the_wanted_digits_are_there_in_the_wanted_order(digits: DataSet) -> None:
    some = data.load("digits", Wanted(classes=("7", "2")))
    assert some.classes == ("7", "2")
    for label, digit in enumerate((7, 2)):
        np.testing.assert_array_equal(some.inputs[some.labels == label], digits.inputs[digits.labels == digit])


def test_the_circles_are_1000_points_within_and_without() -> None:
    circles = data.load("circles")
    assert circles.inputs.shape == (1000, 2)
    assert circles.inputs.dtype == np.float32
    assert not circles.is_pictures
    assert circles.class_counts == {"outer": 500, "inner": 500}
    distances = np.hypot(*circles.inputs.T)
    assert np.median(distances[circles.labels == 0]) == pytest.approx(1, abs=0.02)
    assert np.median(distances[circles.labels == 1]) == pytest.approx(0.5, abs=0.02)
    assert circles.digest == data.load("circles").digest


def test_the_digest_changes_with_the_form_and_with_the_names_of_classes(digits: DataSet) -> None:
    others = [
        replace(digits, inputs=digits.inputs.reshape(1797, 14, 56, 1)),
        replace(digits, inputs=digits.inputs.view(np.int8)),
        replace(digits, classes=("o", *digits.classes[1:])),
        replace(digits, classes=('0", "1', *digits.classes[2:])),
        replace(digits, classes=("0,1", *digits.classes[2:])),
    ]
    assert len({digits.digest, *(other.digest for other in others)}) == 6


def test_the_digest_is_that_of_the_values_and_not_of_how_they_lie_in_memory(digits: DataSet) -> None:
    assert replace(digits, inputs=np.asfortranarray(digits.inputs)).digest == digits.digest
    circles = data.load("circles")
    assert replace(circles, inputs=circles.inputs.astype(">f4")).digest == circles.digest


def test_an_unknown_data_set_is_told_with_the_nearest_names_and_that_a_path_will_do() -> None:
    with pytest.raises(
        NotFound, match=r"unknown data set 'digit'; nearest: 'digits'; or give the path of a folder or of a \.npz file$"
    ):
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
