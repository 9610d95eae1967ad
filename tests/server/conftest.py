from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
from artifacts import SIDE
from processes import ServerProcess
from wire import Stubs, connect


@pytest.fixture
def stubs(tiny: ServerProcess) -> Iterator[Stubs]:
    """Ask the server of the tiny artifact."""
    stubs = connect(tiny.grpc)
    yield stubs
    stubs.channel.close()


@pytest.fixture
def image() -> npt.NDArray[np.float32]:
    """Two rows for the tiny artifact."""
    return np.random.default_rng(1).random((2, SIDE, SIDE, 1), np.float32)
