"""The RPCs about shared memory: which regions of it requests may name."""

from strata_server.control import Change, Json
from strata_server.deadline import Deadline
from strata_server.errors import Unimplemented
from strata_server.regions import SUBJECT, Regions
from strata_server.rpc.methods import Deferred
from strata_server.rpc.open_inference import open_inference_pb2 as pb
from strata_server.rpc.open_inference.facilities import Facilities
from strata_server.rpc.open_inference.places import NOT_ALLOWED

_NO_CUDA = "CUDA shared memory is not served here: inputs and outputs lie in the memory of the host"


def system_status(
    facilities: Facilities, request: pb.SystemSharedMemoryStatusRequest, deadline: Deadline
) -> pb.SystemSharedMemoryStatusResponse:
    """List the regions, or one of them; none where shared memory is not allowed."""
    if facilities.regions is None and not request.name:
        return pb.SystemSharedMemoryStatusResponse()
    regions = _allowed(facilities)
    found = {request.name: regions.find(request.name)} if request.name else regions.all
    return pb.SystemSharedMemoryStatusResponse(
        regions={
            name: pb.SystemSharedMemoryStatusResponse.RegionStatus(
                name=name, key=region.key, offset=region.offset, byte_size=region.byte_size
            )
            for name, region in sorted(found.items())
        }
    )


def system_register(
    facilities: Facilities, request: pb.SystemSharedMemoryRegisterRequest, deadline: Deadline
) -> Deferred:
    """Let requests name a region."""
    memory = _allowed(facilities).identify(request.key, request.offset, request.byte_size)
    region: dict[str, Json] = {
        "key": request.key,
        "offset": request.offset,
        "byte_size": request.byte_size,
        "memory": memory,
    }
    future = facilities.control.change(Change(SUBJECT, {request.name: region}))
    return Deferred(future, lambda _: pb.SystemSharedMemoryRegisterResponse())


def system_unregister(
    facilities: Facilities, request: pb.SystemSharedMemoryUnregisterRequest, deadline: Deadline
) -> Deferred | pb.SystemSharedMemoryUnregisterResponse:
    """Let requests name a region, or any, no longer; one that is not registered needs nothing more."""
    if facilities.regions is None and not request.name:
        return pb.SystemSharedMemoryUnregisterResponse()
    regions = _allowed(facilities)
    names = [request.name] if request.name else list(regions.all)
    future = facilities.control.change(Change(SUBJECT, dict.fromkeys(names)))
    return Deferred(future, lambda _: pb.SystemSharedMemoryUnregisterResponse())


def cuda_status(
    facilities: Facilities, request: pb.CudaSharedMemoryStatusRequest, deadline: Deadline
) -> pb.CudaSharedMemoryStatusResponse:
    """List no regions: there are none."""
    if request.name:
        raise Unimplemented(_NO_CUDA)
    return pb.CudaSharedMemoryStatusResponse()


def cuda_register(
    facilities: Facilities, request: pb.CudaSharedMemoryRegisterRequest, deadline: Deadline
) -> pb.CudaSharedMemoryRegisterResponse:
    """Refuse."""
    raise Unimplemented(_NO_CUDA)


def cuda_unregister(
    facilities: Facilities, request: pb.CudaSharedMemoryUnregisterRequest, deadline: Deadline
) -> pb.CudaSharedMemoryUnregisterResponse:
    """Refuse one region; all of them, which are none, are unregistered.

    Triton's load generator and its examples begin so, whether they will use such memory or not.
    """
    if request.name:
        raise Unimplemented(_NO_CUDA)
    return pb.CudaSharedMemoryUnregisterResponse()


def _allowed(facilities: Facilities) -> Regions:
    if facilities.regions is None:
        raise Unimplemented(NOT_ALLOWED)
    return facilities.regions
