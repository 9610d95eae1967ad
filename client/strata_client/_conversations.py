"""What a client can be asked for, as conversations: the clients that wait and those that do not hold the same ones."""

from __future__ import annotations

from collections.abc import Sequence

from strata.v1.catalog_pb2 import ListModelsRequest, ListModelsResponse
from strata.v1.repository_pb2 import (
    ListVersionsRequest,
    ListVersionsResponse,
    LoadModelResponse,
    UnloadModelResponse,
)

from strata_client import _chunks, _shared
from strata_client._calls import Call, Conversation, ask, ask_all, reads
from strata_client._chunks import Limits
from strata_client._questions import Activation, Prediction
from strata_client._shared import Inputs
from strata_client.activations import Activations
from strata_client.catalog import Description, Model
from strata_client.errors import (
    DeadlineExceeded,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    ServerError,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from strata_client.health import NOT_SERVING, SERVING, Health
from strata_client.predictions import Predictions
from strata_client.reductions import Reduce
from strata_client.repository import RepositoryVersion

_REPOSITORY = "/strata.v1.RepositoryService"
HEALTH = "/grpc.health.v1.Health/Check"

# Whatever a server, or a lack of one, answers to the question whether it serves.
_OF_A_SERVER = (
    DeadlineExceeded,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    ServerError,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)


def health(addresses: Sequence[str]) -> Conversation[Health]:
    """Ask each address whether it serves."""
    states = yield from ask_all([_check(address) for address in addresses])
    return Health({address: str(state) for address, state in zip(addresses, states, strict=True)})


def _check(address: str) -> Call[str]:
    # Both messages are small enough to be written by hand, which spares a dependency: an empty request means the whole
    # server, and field 1 of the answer is 1 where it serves.
    return Call(HEALTH, b"", _read_health, address=address, tolerated=_OF_A_SERVER)


def _read_health(body: bytes) -> str:
    return SERVING if body == b"\x08\x01" else NOT_SERVING


def models() -> Conversation[list[Model]]:
    """List what is served."""
    body = ListModelsRequest().SerializeToString()
    call = Call("/strata.v1.CatalogService/ListModels", body, reads(ListModelsResponse, _shared.read_models))
    return (yield from ask(call))


def describe(model: str) -> Conversation[Description]:
    """Describe one version of a model."""
    return (yield from ask(_chunks.describe(model)))


def predict(inputs: Inputs, model: str, top: int, limits: Limits) -> Conversation[Predictions]:
    """Compute the prediction."""
    return (yield from _chunks.converse(Prediction(top), inputs, model, limits))


def activations(
    inputs: Inputs, layers: Sequence[str], model: str, reduce: Reduce, limits: Limits
) -> Conversation[Activations]:
    """Compute the activations of some layers."""
    return (yield from _chunks.converse(Activation(layers, reduce), inputs, model, limits))


def versions() -> Conversation[list[RepositoryVersion]]:
    """List what the model repository holds."""
    body = ListVersionsRequest().SerializeToString()
    call = Call(f"{_REPOSITORY}/ListVersions", body, reads(ListVersionsResponse, _shared.read_versions))
    return (yield from ask(call))


def load(model: str) -> Conversation[None]:
    """Have a model served as the repository holds it now."""
    body = _shared.write_load(model).SerializeToString()
    yield from ask(Call(f"{_REPOSITORY}/LoadModel", body, reads(LoadModelResponse, _forget), is_safe=False))


def unload(model: str) -> Conversation[None]:
    """Have a model served no longer."""
    body = _shared.write_unload(model).SerializeToString()
    yield from ask(Call(f"{_REPOSITORY}/UnloadModel", body, reads(UnloadModelResponse, _forget), is_safe=False))


def _forget(response: LoadModelResponse | UnloadModelResponse) -> None:
    """Keep nothing of a response that says nothing but that it was done."""
