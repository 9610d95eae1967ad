"""Labeled pictures to learn from, and how they are divided."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from strata_training.errors import unknown

Rows = npt.NDArray[np.intp]
"""Places of pictures in a data set."""

TEST_SHARE = 0.2
VALIDATION_SHARE = 0.1
"""Of what the test leaves."""


@dataclass(frozen=True, eq=False)
class DataSet:
    """Labeled pictures, all of one size."""

    name: str
    images: npt.NDArray[np.uint8]
    """(rows, height, width, channels), 0..255."""
    labels: npt.NDArray[np.int64]
    """(rows,): each a place in `classes`."""
    classes: tuple[str, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of the pictures and labels, in lower-case hexadecimal digits."""
        digest = hashlib.sha256(str(self.images.shape).encode())
        digest.update(self.images.tobytes())
        # Little-endian, so that every machine finds the same digest.
        digest.update(self.labels.astype("<i8").tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Split:
    """A data set divided in three; no picture is in two parts."""

    training: Rows
    """To learn from."""
    validation: Rows
    """To choose the epoch by."""
    test: Rows
    """Held out until the end."""


def load(name: str) -> DataSet:
    """Return a data set.

    Raises:
        NotFound: there is none of that name.
    """
    if name not in DATA_SETS:
        raise unknown("data set", name, DATA_SETS)
    return DATA_SETS[name]()


def split(labels: npt.NDArray[np.int64], seed: int) -> Split:
    """Divide a data set so that each part has the classes in the same shares; the same seed, the same parts."""
    from sklearn.model_selection import train_test_split

    rows = np.arange(len(labels))
    rest, test = train_test_split(rows, test_size=TEST_SHARE, stratify=labels, random_state=seed)
    training, validation = train_test_split(rest, test_size=VALIDATION_SHARE, stratify=labels[rest], random_state=seed)
    return Split(training, validation, test)


def load_digits() -> DataSet:
    """Return 1,797 handwritten digits of 28x28x1, made from the 8x8 ones that scikit-learn carries.

    Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository.
    """
    import sklearn.datasets

    source = sklearn.datasets.load_digits()
    small = np.round(source.images * (255 / 16)).astype(np.uint8)
    large = small.repeat(3, axis=1).repeat(3, axis=2)
    images = np.pad(large, ((0, 0), (2, 2), (2, 2)))[..., np.newaxis]
    return DataSet("digits", images, source.target.astype(np.int64), tuple(map(str, range(10))))


DATA_SETS: Mapping[str, Callable[[], DataSet]] = {"digits": load_digits}
