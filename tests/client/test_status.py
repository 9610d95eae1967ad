import socket
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import grpc
import pytest
import strata_client
from strata.v1.catalog_pb2 import ListModelsResponse
from strata_client import Client, _status

Peer = Callable[..., AbstractContextManager[str]]

ERRORS = {
    "INVALID_ARGUMENT": "InvalidArgument",
    "NOT_FOUND": "NotFound",
    "RESOURCE_EXHAUSTED": "ResourceExhausted",
    "DEADLINE_EXCEEDED": "DeadlineExceeded",
    "UNAVAILABLE": "Unavailable",
    "UNAUTHENTICATED": "Unauthenticated",
    "PERMISSION_DENIED": "PermissionDenied",
    "UNIMPLEMENTED": "Unimplemented",
    "CANCELLED": "Cancelled",
    "INTERNAL": "ServerError",
    "UNKNOWN": "ServerError",
    "DATA_LOSS": "ServerError",
    "ABORTED": "ServerError",
}


@pytest.mark.parametrize(("status", "name"), ERRORS.items())
def test_every_status_is_an_error_of_ours_with_the_servers_text(peer: Peer, status: str, name: str) -> None:
    def refuse(_: object, context: grpc.ServicerContext) -> None:
        context.abort(grpc.StatusCode[status], "the reason")

    quick = strata_client.Retries(first_wait_s=0, longest_wait_s=0)
    with (
        peer({"ListModels": refuse}) as address,
        Client(address, retries=quick) as client,
        pytest.raises(strata_client.StrataError) as caught,
    ):
        client.models()
    assert type(caught.value).__name__ == name
    assert str(caught.value).endswith("the reason")
    assert isinstance(caught.value.__cause__, grpc.RpcError)


@pytest.mark.parametrize("scheme", ["", "dns:///"])
def test_where_no_server_answers_the_error_names_the_address_and_the_cause(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        address = f"{scheme}localhost:{unused.getsockname()[1]}"
    with Client(address) as client, pytest.raises(strata_client.Unavailable) as caught:
        client.models()
    assert str(caught.value) == f"no server answers at {address}: Connection refused"


@pytest.mark.parametrize("own", [True, False])
def test_a_server_that_is_too_slow_is_given_up(peer: Peer, *, own: bool) -> None:
    asked = threading.Event()

    def wait(_: object, context: grpc.ServicerContext) -> ListModelsResponse:
        gone = threading.Event()
        context.add_callback(gone.set)
        asked.set()
        assert gone.wait(20)
        return ListModelsResponse()

    # Long enough for the server to be reached; each call can have its own.
    default_s, call_s = (20.0, 0.5) if own else (0.5, None)
    with peer({"ListModels": wait}) as address, Client(address, timeout_s=default_s) as client:
        with pytest.raises(strata_client.DeadlineExceeded, match=rf"no answer from {address} within 0.5 s$"):
            client.models(timeout_s=call_s)
        assert asked.is_set()


def test_closing_the_client_ends_a_call_that_waits(peer: Peer) -> None:
    asked, caught = threading.Event(), []

    def wait(_: object, context: grpc.ServicerContext) -> ListModelsResponse:
        gone = threading.Event()
        context.add_callback(gone.set)
        asked.set()
        assert gone.wait(20)
        return ListModelsResponse()

    def ask(client: Client) -> None:
        try:
            client.models()
        except strata_client.StrataError as error:
            caught.append(error)

    with peer({"ListModels": wait}) as address:
        client = Client(address)
        thread = threading.Thread(target=ask, args=(client,))
        thread.start()
        assert asked.wait(20)
        client.close()
        thread.join(20)
    assert [(type(error), str(error)) for error in caught] == [(strata_client.Cancelled, "the client is closed")]


@pytest.mark.parametrize(
    ("code", "details", "text"),
    [
        ("DEADLINE_EXCEEDED", "Stream removed (Deadline Exceeded)", "no answer from a:1 within 2 s"),
        ("DEADLINE_EXCEEDED", "the queue is long", "no answer from a:1 within 2 s: the queue is long"),
        ("CANCELLED", "Stream removed (Channel closed!)", "the client is closed"),
        ("CANCELLED", "by the server", "by the server"),
        ("UNAVAILABLE", "Stream removed (Socket closed)", "a:1: Socket closed"),
        ("UNKNOWN", "", "a:1: UNKNOWN"),
    ],
)
def test_grpcs_own_words_do_not_stand_beside_ours(code: str, details: str, text: str) -> None:
    class Failure(grpc.RpcError):
        def code(self) -> grpc.StatusCode:
            return grpc.StatusCode[code]

        def details(self) -> str:
            return details

        def trailing_metadata(self) -> tuple[Any, ...]:
            return ()

    assert str(_status.translate(Failure(), "a:1", 2)) == text


def test_a_closed_client_says_that_it_is_closed() -> None:
    with Client("localhost:1") as client:
        pass
    with pytest.raises(strata_client.Cancelled, match="the client is closed"):
        client.models()


def test_a_server_of_another_protocol_is_named_with_its_address(peer: Peer) -> None:
    with peer({}) as address, Client(address) as client:
        with pytest.raises(strata_client.Unimplemented, match=address):
            client.models()
        health = client.health()
    assert not health.serving
    assert health.servers[address].startswith(address)


def test_an_answer_over_grpcs_own_limit_is_received(peer: Peer) -> None:
    def answer(*_: Any) -> ListModelsResponse:
        return ListModelsResponse(models=[{"name": "x" * 6_000_000}])  # gRPC receives 4 MB unless told

    with peer({"ListModels": answer}) as address, Client(address) as client:
        assert len(client.models()[0].name) == 6_000_000
