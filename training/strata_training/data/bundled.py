"""The data sets that come with scikit-learn: no download is needed."""

from collections.abc import Callable, Mapping

import numpy as np

from strata_training.data.dataset import DataSet


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


def load_circles() -> DataSet:
    """Return 1,000 points in the plane, on two circles about the origin with radii 1 and 0.5, and noise.

    No line separates the two classes; a circle does.
    """
    import sklearn.datasets

    # The same points on every machine: the seed of a run divides them and does not change them.
    points, labels = sklearn.datasets.make_circles(1000, noise=0.08, factor=0.5, random_state=0)
    return DataSet("circles", points.astype(np.float32), labels.astype(np.int64), ("outer", "inner"))


BUNDLED: Mapping[str, Callable[[], DataSet]] = {"digits": load_digits, "circles": load_circles}
