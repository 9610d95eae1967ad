"""The RPCs about the model repository: what is in it, what of it is served."""

from functools import partial

from strata_server.control import Listed
from strata_server.deadline import Deadline
from strata_server.errors import InvalidArgument, NotFound, quote, quote_all
from strata_server.rpc.methods import Deferred
from strata_server.rpc.open_inference import open_inference_pb2 as pb
from strata_server.rpc.open_inference.facilities import Facilities
from strata_server.rpc.open_inference.parameters import check_names
from strata_server.rpc.repository import load, unload


def repository_index(facilities: Facilities, request: pb.RepositoryIndexRequest, deadline: Deadline) -> Deferred:
    """List the versions in the repository, or those that are served."""
    if request.repository_name:
        raise _no_other(request.repository_name)
    return Deferred(facilities.control.index(), partial(_write_index, ready=request.ready))


def repository_model_load(
    facilities: Facilities, request: pb.RepositoryModelLoadRequest, deadline: Deadline
) -> Deferred:
    """Serve what the repository holds of a model now."""
    model = _find_name(request)
    if request.parameters:
        # What is loaded is what the operator has put there: a caller brings no file and no configuration.
        received = quote_all(sorted(request.parameters))
        raise InvalidArgument(f"expected a load request without parameters, received {received}")
    return load(facilities.control, model, pb.RepositoryModelLoadResponse(model_name=model, isLoaded=True))


def repository_model_unload(
    facilities: Facilities, request: pb.RepositoryModelUnloadRequest, deadline: Deadline
) -> Deferred:
    """Serve a model no longer."""
    model = _find_name(request)
    # No model depends on another here, so that it changes nothing.
    check_names("unload request", request.parameters, ("unload_dependents",))
    return unload(facilities.control, model, pb.RepositoryModelUnloadResponse(model_name=model, isUnloaded=True))


def _find_name(request: pb.RepositoryModelLoadRequest | pb.RepositoryModelUnloadRequest) -> str:
    """Return the model's name, which KServe's clients send as that of the repository."""
    if request.model_name and request.repository_name not in {"", request.model_name}:
        raise _no_other(request.repository_name)
    return request.model_name or request.repository_name


def _no_other(repository: str) -> NotFound:
    return NotFound(f"unknown repository {quote(repository)}; there is one, and it has no name")


def _write_index(listed: list[Listed], *, ready: bool) -> pb.RepositoryIndexResponse:
    return pb.RepositoryIndexResponse(
        models=[
            pb.RepositoryIndexResponse.ModelIndex(
                name=each.model, version=each.version, state=each.state, reason=each.reason
            )
            for each in listed
            if not ready or each.state == "READY"
        ]
    )
