from collections.abc import Iterable

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool


def pool_files(files: Iterable[FileDescriptor]) -> DescriptorPool:
    """Return one pool that holds these files and what they import, wherever each was registered."""
    pool = DescriptorPool()
    added: set[str] = set()
    for file in files:
        _add(pool, file, added)
    return pool


def _add(pool: DescriptorPool, file: FileDescriptor, added: set[str]) -> None:
    if file.name in added:
        return
    added.add(file.name)
    for dependency in file.dependencies:
        _add(pool, dependency, added)
    message = FileDescriptorProto()
    file.CopyToProto(message)
    pool.Add(message)
