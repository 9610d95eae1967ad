"""grpc.reflection.v1alpha, by grpcio's own servicer, over any transport."""

from collections.abc import Iterable

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from grpc_reflection.v1alpha import reflection, reflection_pb2

from strata_server.deadline import Deadline
from strata_server.rpc.methods import Method

SERVICE = reflection.SERVICE_NAME
FILE = reflection_pb2.DESCRIPTOR


def reflection_methods(services: Iterable[str], files: Iterable[FileDescriptor]) -> list[Method]:
    """Return the RPC that describes services, which these files declare."""
    servicer = reflection.ReflectionServicer([*services, SERVICE], pool=pool_files([*files, FILE]))

    def describe(request: Message, deadline: Deadline) -> Message:
        response: Message = next(servicer.ServerReflectionInfo(iter([request]), None))
        return response

    return [
        Method(
            SERVICE,
            "ServerReflectionInfo",
            reflection_pb2.ServerReflectionRequest,
            describe,
            is_heavy=lambda _: False,  # answers come in the order of the questions
            is_stream=True,
            ends_with_server=False,
        )
    ]


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
