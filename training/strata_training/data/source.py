"""A source of data: a name, or a path."""

from strata_training.data.bundled import BUNDLED
from strata_training.data.dataset import DataSet
from strata_training.data.wanted import Wanted
from strata_training.errors import unknown

NAMES: tuple[str, ...] = (*BUNDLED,)
"""The sources that have a name."""


def load(source: str, wanted: Wanted = Wanted()) -> DataSet:  # noqa: ARG001, B008
    """Return a data set.

    Raises:
        NotFound: there is none of that name.
    """
    if source not in BUNDLED:
        raise unknown("data set", source, NAMES)
    return BUNDLED[source]()
