"""The RPCs of strata.v1 about the model repository, and what those of the other protocol share with them."""

from google.protobuf.message import Message
from strata.v1 import repository_pb2 as pb

from strata_server.control import Control, Listed
from strata_server.deadline import Deadline
from strata_server.errors import InvalidArgument
from strata_server.rpc.methods import Deferred


def list_versions(control: Control, request: pb.ListVersionsRequest, deadline: Deadline) -> Deferred:
    """List the versions in the repository."""
    return Deferred(control.index(), _write_versions)


def load_model(control: Control, request: pb.LoadModelRequest, deadline: Deadline) -> Deferred:
    """Serve what the repository holds of a model now."""
    return load(control, request.name, pb.LoadModelResponse())


def unload_model(control: Control, request: pb.UnloadModelRequest, deadline: Deadline) -> Deferred:
    """Serve a model no longer."""
    return unload(control, request.name, pb.UnloadModelResponse())


def load(control: Control, model: str, response: Message) -> Deferred:
    """Serve what the repository holds of a model now, and then respond.

    Raises:
        InvalidArgument: none is named.
    """
    _check_named(model)
    return Deferred(control.load(model), lambda _: response)


def unload(control: Control, model: str, response: Message) -> Deferred:
    """Serve a model no longer, and then respond; errors as in `load`."""
    _check_named(model)
    return Deferred(control.unload(model), lambda _: response)


def _check_named(model: str) -> None:
    if not model:
        raise InvalidArgument("expected the name of a model, received none")


def _write_versions(listed: list[Listed]) -> pb.ListVersionsResponse:
    return pb.ListVersionsResponse(
        versions=[
            pb.RepositoryVersion(
                name=each.model, version=each.version, state=f"VERSION_STATE_{each.state}", reason=each.reason
            )
            for each in listed
        ]
    )
