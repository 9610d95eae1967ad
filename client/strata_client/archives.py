"""Archives of arrays: what `numpy.save` and `numpy.savez` write, and `numpy.load` opens."""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import numpy as np
import numpy.typing as npt

from strata_client.activations import Activations
from strata_client.errors import InvalidArgument, ResourceExhausted, StrataError
from strata_client.files import replacing
from strata_client.names import escape

Array = npt.NDArray[Any]

_ENDING = ".npy"


def save(arrays: Mapping[str, Array], path: Path) -> None:
    """Write arrays into an .npz file, whole or not at all.

    The keys are the layers' names as they are, `/` included; of a name with control characters, which a zip
    file cannot hold, the escaped form. numpy.savez would take a layer named `file` for one of its arguments.

    Raises:
        OSError: it cannot be written there.
    """
    with replacing(path) as file, ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            # A ZipInfo has a fixed date: the same arrays give the same file.
            with archive.open(ZipInfo(f"{escape(name)}{_ENDING}"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, _without_objects(array), allow_pickle=False)


def _without_objects(array: Array) -> Array:
    """Return text as numpy's own strings, all of one width: objects would be written as what runs when read."""
    return array.astype(np.str_) if array.dtype.hasobject else np.asanyarray(array)


def name_arrays(activations: Activations) -> dict[str, Array]:
    """Return the arrays of an archive: each layer's under its name, its channels under `NAME.channels`.

    Where a layer is called just that, the channels' name gets underscores until it is no layer's.
    """
    arrays: dict[str, Array] = dict(activations)
    for layer, channels in activations.channels.items():
        name = f"{layer}.channels"
        while name in arrays:
            name += "_"
        arrays[name] = channels
    return arrays


def read_array(data: bytes, source: str) -> Array:
    """Read the bytes of an .npy file; nothing in them is run.

    Raises:
        InvalidArgument: it is no such file, or holds Python objects.
    """
    with _explained(source, "an .npy file"):
        return np.asarray(np.lib.format.read_array(io.BytesIO(data), allow_pickle=False))


def read_arrays(data: bytes, source: str, max_bytes: int) -> dict[str, Array]:
    """Read the bytes of an .npz file, compressed or not; nothing in them is run.

    Raises:
        InvalidArgument: it is no such file, holds no arrays, or one of Python objects.
        ResourceExhausted: its arrays have more than `max_bytes` bytes.
    """
    with _explained(source, "an .npz file"), ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        size = sum(member.file_size for member in members)
        if size > max_bytes:
            raise ResourceExhausted(f"{source} holds {size:,} bytes; a message may have {max_bytes:,}")
        arrays = {_name(member): read_array(_extract(archive, member), source) for member in members}
        if not arrays or len(arrays) < len(members):
            raise InvalidArgument(f"{source}: expected arrays, each name once; received {len(members)} members")
    return arrays


def _name(member: ZipInfo) -> str:
    if not member.filename.endswith(_ENDING):
        raise ValueError(f"its member {member.filename!r} does not end in {_ENDING}")
    return member.filename.removesuffix(_ENDING)


def _extract(archive: ZipFile, member: ZipInfo) -> bytes:
    """Return the bytes of a member, and no more of them than it says it has."""
    if member.compress_type not in {ZIP_STORED, ZIP_DEFLATED}:  # what numpy writes, and what stops at a size
        raise ValueError(f"its member {member.filename!r} is compressed otherwise than numpy does")
    with archive.open(member) as file:
        return file.read(member.file_size + 1)


@contextmanager
def _explained(source: str, expected: str) -> Iterator[None]:
    try:
        yield
    except StrataError:
        raise
    except Exception as error:  # numpy and zipfile raise all kinds over bytes that are none of theirs
        what = str(error) or type(error).__name__
        raise InvalidArgument(f"{source}: expected {expected} of numbers or text; {what}") from error
