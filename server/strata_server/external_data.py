"""Weights that lie in other files beside the ONNX file.

Such a tensor names a file, and a name can lead anywhere on this machine: over `..`, over a link, to a pipe that
never ends. So each part of it is opened by itself, beneath the folder that is open already, without following
links; and what was opened is looked at, not what a name meant a moment ago.
"""

import math
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnx

from strata_server.errors import ArtifactError, quote
from strata_server.weights import all_tensors

_LONGEST_LOCATION = 1024
_MOST_DIMENSIONS = 64
# Two layers may share their weights; a thousand tensors over the same bytes are there to fill the memory.
_MOST_COPIES = 4

# Several elements share a byte; by name, since an older onnx does not know all of them.
_PACKED_BITS = {"INT2": 2, "UINT2": 2, "INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "FLOAT6E2M3": 6, "FLOAT6E3M2": 6}


@dataclass(frozen=True)
class _File:
    """A regular file that is open."""

    descriptor: int
    identity: tuple[int, int]
    """Its device and its number there: the same for two names of one file."""
    size: int


@dataclass(frozen=True)
class _Region:
    """The bytes of a tensor."""

    location: str
    offset: int
    length: int


def refuse_external_data(model: onnx.ModelProto) -> None:
    """Refuse weights in other files.

    Raises:
        ArtifactError: naming the first tensor that lies in one.
    """
    for tensor in _external_tensors(model):
        raise ArtifactError(
            f"its tensor {quote(_decode(tensor.name))} lies in another file; expected all weights inside, "
            "or a server that is started with --allow-external-data"
        )


def embed_external_data(model: onnx.ModelProto, folder: Path) -> None:
    """Replace every tensor that lies in another file by the bytes from there.

    Args:
        model: changed in place; as it was where an error is raised before all bytes were found.
        folder: the version's: the files must lie in it or in folders of it, none of them a link.

    Raises:
        ArtifactError: a location, offset or length that is no good, no regular file, a file with another hard link,
            other bytes than shape and type need, or tensors that together are far larger than their files.
    """
    tensors = list(_external_tensors(model))
    if not tensors:
        return
    root = _open_root(folder)
    try:
        regions = _find_regions(root, tensors)
        for tensor, region in zip(tensors, regions, strict=True):
            _embed(root, tensor, region)
    finally:
        os.close(root)


def _external_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    return (tensor for tensor in all_tensors(model) if tensor.data_location == onnx.TensorProto.EXTERNAL)


def _open_root(folder: Path) -> int:
    try:
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ArtifactError(f"its folder cannot be opened: {error.strerror}") from error


def _find_regions(root: int, tensors: list[onnx.TensorProto]) -> list[_Region]:
    """Check where every tensor lies before the first byte is read."""
    regions: list[_Region] = []
    sizes: dict[tuple[int, int], int] = {}
    for tensor in tensors:
        fields = _read_fields(tensor)
        with _open_file(root, tensor, fields["location"]) as file:
            sizes[file.identity] = file.size
            regions.append(_find_region(tensor, fields, file.size))
    wanted, stored = sum(region.length for region in regions), sum(sizes.values())
    if wanted > _MOST_COPIES * stored:
        raise ArtifactError(
            f"its tensors in other files have {wanted} bytes together; expected at most {_MOST_COPIES} times "
            f"the {stored} bytes of those files"
        )
    return regions


def _read_fields(tensor: onnx.TensorProto) -> dict[str, str]:
    fields = {_decode(entry.key): _decode(entry.value) for entry in tensor.external_data}
    if len(fields) != len(tensor.external_data):
        raise _error(tensor, "says something twice of where it lies")
    if "location" not in fields:
        raise _error(tensor, "lies in another file, but does not say which")
    return fields


def _find_region(tensor: onnx.TensorProto, fields: dict[str, str], size: int) -> _Region:
    location = fields["location"]
    offset = _read_count(tensor, "offset", fields.get("offset", "0"))
    if offset > size:
        raise _error(tensor, f"begins at byte {offset} of {quote(location)}, which has {size}")
    length = _read_count(tensor, "length", fields.get("length", str(size - offset)))
    if length > size - offset:
        raise _error(tensor, f"has {length} bytes from byte {offset} of {quote(location)}, which has {size}")
    expected = _count_bytes(tensor)
    if length != expected:
        raise _error(tensor, f"has {length} bytes in {quote(location)}; its shape and type need {expected}")
    return _Region(location, offset, length)


def _read_count(tensor: onnx.TensorProto, what: str, text: str) -> int:
    if not re.fullmatch("[0-9]{1,19}", text):
        raise _error(tensor, f"has the {what} {quote(text)}; expected decimal digits")
    return int(text)


def _count_bytes(tensor: onnx.TensorProto) -> int:
    dims = tuple(tensor.dims)
    if len(dims) > _MOST_DIMENSIONS or any(size < 0 for size in dims):
        raise _error(tensor, f"has a shape that is none: {quote(str(dims[:_MOST_DIMENSIONS]))}")
    return -(-math.prod(dims) * _element_bits(tensor) // 8)


def _element_bits(tensor: onnx.TensorProto) -> int:
    try:
        kind = onnx.TensorProto.DataType.Name(tensor.data_type)
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    except (KeyError, ValueError) as error:
        raise _error(tensor, "is of no known type") from error
    if kind in _PACKED_BITS:
        return _PACKED_BITS[kind]
    if dtype.hasobject:
        raise _error(tensor, "holds strings; expected numbers in another file")
    return 8 * dtype.itemsize


def _embed(root: int, tensor: onnx.TensorProto, region: _Region) -> None:
    with _open_file(root, tensor, region.location) as file:
        try:
            with open(file.descriptor, "rb", closefd=False) as stream:
                stream.seek(region.offset)
                data = stream.read(region.length)
        except OSError as error:
            raise _error(tensor, f"cannot be read from {quote(region.location)}: {error.strerror}") from error
    if len(data) != region.length:
        raise _error(tensor, f"lies in {quote(region.location)}, which changed while it was read")
    tensor.raw_data = data
    tensor.ClearField("external_data")
    tensor.ClearField("data_location")


@contextmanager
def _open_file(root: int, tensor: onnx.TensorProto, location: str) -> Iterator[_File]:
    _check_location(tensor, location)
    try:
        descriptor = _open_beneath(root, location.encode())
    except OSError as error:
        raise _error(
            tensor,
            f"lies in {quote(location)}, which cannot be opened: {error.strerror}; "
            "expected a regular file beneath the version's folder, no part of its name a link",
        ) from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _error(tensor, f"lies in {quote(location)}, which is no regular file")
        if status.st_nlink != 1:
            raise _error(tensor, f"lies in {quote(location)}, which has another name; expected one hard link")
        yield _File(descriptor, (status.st_dev, status.st_ino), status.st_size)
    finally:
        os.close(descriptor)


def _check_location(tensor: onnx.TensorProto, location: str) -> None:
    bad = {"", ".", ".."}.intersection(location.split("/")) or any(mark in location for mark in "\0\\")
    if bad or len(location) > _LONGEST_LOCATION:
        raise _error(
            tensor,
            f"lies in {quote(location)}; expected the name of a file in the version's folder, such as "
            "weights.bin or weights/1.bin",
        )


def _open_beneath(root: int, path: bytes) -> int:
    """Open a file beneath a folder, following no link and waiting for nothing."""
    *folders, name = path.split(b"/")
    folder = os.dup(root)
    try:
        for part in folders:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            os.close(folder)
            folder = inner
        # Opening a pipe would wait for a writer; a regular file does not know O_NONBLOCK.
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    finally:
        os.close(folder)


def _error(tensor: onnx.TensorProto, problem: str) -> ArtifactError:
    return ArtifactError(f"its tensor {quote(_decode(tensor.name))} {problem}")


def _decode(text: str | bytes) -> str:
    """Return the text of a field; protobuf hands it out as bytes where it is not UTF-8."""
    return text if isinstance(text, str) else text.decode(errors="replace")
