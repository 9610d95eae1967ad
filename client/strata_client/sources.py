"""What a user names as an input: a picture, a file of arrays, a folder of pictures, or standard input."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from strata_client import archives
from strata_client._shared import MAX_MESSAGE_BYTES, Inputs
from strata_client.activity import Array
from strata_client.errors import InvalidArgument
from strata_client.files import read_limited
from strata_client.images import Picture

PICTURE_ENDINGS = (".png", ".jpg", ".jpeg")

_MAGICS = {b"\x93NUMPY": ".npy", b"PK\3\4": ".npz"}


def read(source: str) -> "Array | dict[str, Array] | Picture":
    """Return what enters a network: .npy files are arrays, .npz files are arrays by name, all others pictures.

    `-` is standard input, whose first bytes say which of them it is.

    Raises:
        InvalidArgument: a file of arrays is none.
        ResourceExhausted: it is larger than a message may be.
        OSError: it cannot be read; pictures are read when they are sent.
    """
    if source == "-":
        # One byte too many is enough to be refused, whatever more would come.
        data = sys.stdin.buffer.read(MAX_MESSAGE_BYTES + 1)
        ending = next((end for magic, end in _MAGICS.items() if data.startswith(magic)), "")
        return _read_arrays(data, ending, "standard input") if ending else data
    path = Path(source)
    ending = path.suffix.lower()
    if ending not in {".npy", ".npz"}:
        return source
    return _read_arrays(read_limited(path, MAX_MESSAGE_BYTES), ending, source)


def gather(sources: Sequence[str]) -> Inputs:
    """Return several sources as one input: pictures, a row each, or arrays, their rows one after another.

    Of a folder the pictures in it are taken, by name.

    Raises:
        InvalidArgument: pictures and arrays together, arrays that do not fit each other, a folder without pictures.
        ResourceExhausted: a file is larger than a message may be.
        OSError: one cannot be read.
    """
    found = [read(file) for source in sources for file in list_files(source)]
    pictures = [one for one in found if not isinstance(one, np.ndarray | Mapping)]
    if len(pictures) == len(found):
        return pictures
    arrays = [{"": one} if isinstance(one, np.ndarray) else one for one in found if isinstance(one, np.ndarray | dict)]
    if pictures or len({frozenset(one) for one in arrays}) > 1:
        raise InvalidArgument("expected either pictures, or files with arrays of the same names; received some of each")
    return _join(arrays)


def _read_arrays(data: bytes, ending: str, source: str) -> "Array | dict[str, Array]":
    if ending == ".npy":
        return archives.read_array(data, source)
    return archives.read_arrays(data, source, MAX_MESSAGE_BYTES)


def list_files(source: str) -> list[str]:
    """Return the pictures in a folder, by name; anything else is itself the only one.

    Raises:
        InvalidArgument: there is no picture in the folder.
        OSError: the folder cannot be read.
    """
    if source == "-" or not Path(source).is_dir():
        return [source]
    files = sorted(str(file) for file in Path(source).iterdir() if file.suffix.lower() in PICTURE_ENDINGS)
    if not files:
        raise InvalidArgument(f"{source}: expected pictures in this folder, which end in {', '.join(PICTURE_ENDINGS)}")
    return files


def _join(arrays: "Sequence[Mapping[str, Array]]") -> "Array | dict[str, Array]":
    try:
        joined = {name: np.concatenate([one[name] for one in arrays]) for name in arrays[0]}
    except (ValueError, TypeError) as error:
        raise InvalidArgument(f"expected arrays of one shape beside their rows; {error}") from error
    return joined[""] if set(joined) == {""} else joined
