"""Archives of arrays that `numpy.load` opens."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import ZipFile, ZipInfo

import numpy as np
import numpy.typing as npt

from strata_client.files import replacing
from strata_client.names import escape


def save(arrays: Mapping[str, npt.NDArray[Any]], path: Path) -> None:
    """Write arrays into an .npz file, whole or not at all.

    The keys are the layers' names as they are, `/` included; of a name with control characters, which a zip
    file cannot hold, the escaped form. numpy.savez would take a layer named `file` for one of its arguments.

    Raises:
        OSError: it cannot be written there.
    """
    with replacing(path) as file, ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            # A ZipInfo has a fixed date: the same arrays give the same file.
            with archive.open(ZipInfo(f"{escape(name)}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
