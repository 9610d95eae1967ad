"""A .npz file as data: the arrays it may hold, and what is refused."""

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from strata_training import data
from strata_training.data import DataSet, Wanted
from strata_training.errors import NotFound, TrainingError, Unreadable

PICTURES = np.random.default_rng(0).integers(0, 256, (6, 4, 5), np.uint8)
POINTS = np.random.default_rng(1).normal(size=(6, 2))
LABELS = np.array([0, 1, 1, 0, 1, 0])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mine.npz"


def load(path: Path, wanted: Wanted | None = None, **arrays: Any) -> DataSet:
    """Write the arrays and load them."""
    np.savez_compressed(path, **arrays)
    return data.load(str(path), wanted or Wanted())


@pytest.mark.parametrize(("x", "y"), [("x", "y"), ("images", "labels")])
def test_grayscale_pictures_get_an_axis_for_their_channel(path: Path, x: str, y: str) -> None:
    loaded = load(path, None, **{x: PICTURES, y: LABELS})
    assert (loaded.name, loaded.classes, loaded.held_out) == ("mine.npz", ("0", "1"), None)
    assert loaded.is_pictures
    assert loaded.inputs.dtype == np.uint8
    np.testing.assert_array_equal(loaded.inputs, PICTURES[..., np.newaxis])
    np.testing.assert_array_equal(loaded.labels, LABELS)
    assert loaded.labels.dtype == np.int64


def test_color_pictures_stay_as_they_are(path: Path) -> None:
    colored = np.random.default_rng(2).integers(0, 256, (6, 4, 5, 3), np.uint8)
    np.testing.assert_array_equal(load(path, x=colored, y=LABELS).inputs, colored)


@pytest.mark.parametrize("dtype", ["<f8", ">f4", "<f2"])
def test_points_become_float32(path: Path, dtype: str) -> None:
    loaded = load(path, x=POINTS.astype(dtype), y=LABELS)
    assert not loaded.is_pictures
    assert loaded.inputs.dtype == np.dtype(np.float32)
    np.testing.assert_array_equal(loaded.inputs, POINTS.astype(dtype).astype(np.float32))


def test_names_of_classes_are_those_that_integers_are_places_in(path: Path) -> None:
    loaded = load(path, x=PICTURES, y=LABELS, classes=["<猫>", "dog"])
    assert loaded.class_counts == {"<猫>": 3, "dog": 3}


def test_labels_that_are_text_are_the_classes_sorted(path: Path) -> None:
    loaded = load(path, x=PICTURES, y=np.array(["dog", "cat"])[LABELS])
    assert loaded.classes == ("cat", "dog")
    np.testing.assert_array_equal(loaded.labels, 1 - LABELS)


def test_labels_that_are_text_take_the_order_of_the_classes(path: Path) -> None:
    loaded = load(path, x=PICTURES, y=np.array(["dog", "cat"])[LABELS], classes=["dog", "cat"])
    assert loaded.classes == ("dog", "cat")
    np.testing.assert_array_equal(loaded.labels, LABELS)


def test_integers_without_names_are_the_classes_that_occur(path: Path) -> None:
    loaded = load(path, x=PICTURES, y=np.array([[12], [3]])[LABELS])  # (rows, 1), as Keras has those of CIFAR
    assert loaded.classes == ("3", "12")
    np.testing.assert_array_equal(loaded.labels, 1 - LABELS)


def test_a_test_part_of_its_own_is_held_out(path: Path) -> None:
    loaded = load(path, x_train=PICTURES, y_train=LABELS, x_test=PICTURES[:4], y_test=LABELS[:4])
    assert loaded.held_out is not None
    assert loaded.held_out.tolist() == [6, 7, 8, 9]
    np.testing.assert_array_equal(loaded.inputs[6:, ..., 0], PICTURES[:4])
    assert data.split(loaded, seed=0).test.tolist() == [6, 7, 8, 9]


def test_wanted_classes_are_taken_from_both_parts(path: Path) -> None:
    y = np.repeat([0, 1, 2], 2)
    x = np.arange(6)[:, np.newaxis] + np.zeros(3)
    loaded = load(path, Wanted(classes=("2", "0")), x_train=x, y_train=y, x_test=x[::-1] + 10, y_test=y[::-1])
    assert loaded.classes == ("2", "0")
    assert loaded.inputs[:, 0].tolist() == [0, 1, 4, 5, 15, 14, 11, 10]
    assert loaded.labels.tolist() == [1, 1, 0, 0, 0, 0, 1, 1]
    assert loaded.held_out is not None
    assert loaded.held_out.tolist() == [4, 5, 6, 7]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no known keys": (
        {"data": PICTURES, "target": LABELS},
        "expected the arrays x and y, images and labels, or x_train, .* in 'mine.npz', received 'data', 'target'",
    ),
    "half of the parts": ({"x_train": PICTURES, "y_train": LABELS}, "x_test, y_test in 'mine.npz', received 'x_train'"),
    "float pictures": (
        {"x": PICTURES / 255, "y": LABELS},
        r"expected x to be uint8 pictures .* received float64 \(6, 4, 5\); pictures are 0 to 255 here, and scaled as",
    ),
    "int64 pictures": ({"x": PICTURES.astype(int), "y": LABELS}, r"received int64 \(6, 4, 5\); pictures are 0 to 255"),
    "integer points": ({"x": LABELS[:, np.newaxis], "y": LABELS}, r"floating-point \(rows, features\), received int64"),
    "channels first": (
        {"x": np.zeros((6, 3, 8, 8), np.uint8), "y": LABELS},
        r"expected 1 to 4 channels in x, on its last axis, received uint8 \(6, 3, 8, 8\)",
    ),
    "no rows": ({"x": PICTURES[:0], "y": LABELS[:0]}, r"expected examples in x, received none: uint8\[0, 4, 5\]"),
    "no width": ({"x": PICTURES[:, :, :0], "y": LABELS}, "expected examples in x, received none"),
    "not a number": (
        {"x": np.where(np.arange(6)[:, np.newaxis] == 4, np.nan, POINTS), "y": LABELS},
        r"expected numbers that float32 can hold in x, received \[nan nan\] in row 4",
    ),
    "too large for float32": ({"x": POINTS + 1e300, "y": LABELS}, "numbers that float32 can hold in x"),
    "lengths that differ": (
        {"images": PICTURES, "labels": LABELS[:5]},
        "expected as many labels as inputs, received 6 in images and 5 in labels",
    ),
    "one-hot labels": (
        {"x": PICTURES, "y": np.eye(2, dtype=int)[LABELS]},
        r"expected y to be one integer or text for each row, received int64 \(6, 2\)",
    ),
    "float labels": ({"x": PICTURES, "y": LABELS.astype(float)}, "one integer or text for each row, received float64"),
    "negative labels": ({"x": PICTURES, "y": LABELS - 1}, "expected labels of 0 or more, received -1 to 0"),
    "labels out of range": (
        {"x": PICTURES, "y": LABELS + 1, "classes": ["cat", "dog"]},
        "expected labels of 0 to 1, for 2 classes, received 1 to 2",
    ),
    "an unknown text label": (
        {"x": PICTURES, "y": np.array(["dgo", "cat"])[LABELS], "classes": ["cat", "dog"]},
        "unknown class 'dgo'; nearest: 'dog'",
    ),
    "classes that are numbers": (
        {"x": PICTURES, "y": LABELS, "classes": [1, 2]},
        "expected classes to be one name after",
    ),
    "a class twice": (
        {"x": PICTURES, "y": LABELS, "classes": ["cat", "cat"]},
        "expected each class once, received more than once: 'cat'",
    ),
    "one class": ({"x": PICTURES, "y": LABELS * 0}, "expected two classes or more, received 1: '0'"),
    "a class with two rows": ({"x": PICTURES, "y": [0, 0, 0, 0, 1, 1]}, "received fewer: '1' has 2"),
    "a class without rows": ({"x": PICTURES, "y": LABELS, "classes": ["a", "b", "c"]}, "received fewer: 'c' has 0"),
    "pickled": ({"x": np.array([{}] * 6), "y": LABELS}, "it holds Python objects, which are never unpickled"),
    "parts of other sizes": (
        {"x_train": PICTURES, "y_train": LABELS, "x_test": PICTURES[:, :3], "y_test": LABELS},
        r"expected x_test to be as x_train, uint8 \(6, 4, 5, 1\), received uint8 \(6, 3, 5, 1\)",
    ),
    "text in one part": (
        {"x_train": PICTURES, "y_train": LABELS, "x_test": PICTURES, "y_test": LABELS.astype(str)},
        "expected text in both y_train and y_test or in neither",
    ),
    "a class without a test": (
        {"x_train": PICTURES, "y_train": LABELS, "x_test": PICTURES[:1], "y_test": LABELS[:1]},
        "to hold out, in the test part; received fewer: '1' has 0",
    ),
    "a class only in the test": (
        {"x_train": PICTURES[:4], "y_train": [0, 0, 0, 1], "x_test": PICTURES, "y_test": LABELS},
        "beside the test part; received fewer: '1' has 1",
    ),
}


@pytest.mark.parametrize(("arrays", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_learned_from_is_refused_in_one_line(path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=message) as refused:
        load(path, **arrays)
    assert "\n" not in str(refused.value)


def test_unknown_and_repeated_classes_are_refused(path: Path) -> None:
    with pytest.raises(NotFound, match="unknown class 'doge'; nearest: 'dog'"):
        load(path, Wanted(classes=("cat", "doge")), x=PICTURES, y=LABELS, classes=["cat", "dog"])
    with pytest.raises(TrainingError, match="received more than once: 'cat'"):
        load(path, Wanted(classes=("cat", "cat")), x=PICTURES, y=LABELS, classes=["cat", "dog"])


@pytest.mark.parametrize("wanted", [Wanted(image_size=(8, 8)), Wanted(color="COLOR_RGB")])
def test_points_have_neither_a_size_nor_a_color(path: Path, wanted: Wanted) -> None:
    with pytest.raises(TrainingError, match=r"'mine\.npz' has points, not pictures"):
        load(path, wanted, x=POINTS, y=LABELS)


def damage(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:60] + bytes(20) + whole[80:])


def keep_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def hold_text(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x.npy", "no array")
        file.writestr("y.npy", "no array")


@pytest.mark.parametrize("spoil", [damage, keep_half, hold_text, Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_broken_file_is_refused_in_one_line(path: Path, spoil: Any) -> None:
    load(path, x=PICTURES, y=LABELS)
    spoil(path)
    path.touch()
    with pytest.raises(
        Unreadable, match=r"expected 'mine\.npz' to be a \.npz file of arrays: (it is damaged|x is none)"
    ) as refused:
        data.load(str(path))
    assert "\n" not in str(refused.value)


def test_a_file_that_memory_cannot_hold_is_not_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(path, x=PICTURES, y=LABELS)
    # A machine of 512 bytes: half of it is less than the two arrays.
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 128, "SC_PHYS_PAGES": 4}.__getitem__)
    with pytest.raises(
        TrainingError, match=r"the arrays of 'mine\.npz' need 0\.0 GiB of memory: expected at most 0\.0 GiB"
    ):
        data.load(str(path))
