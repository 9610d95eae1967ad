import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import grpc
import numpy as np
import pytest
from strata.v1.catalog_pb2 import ListModelsResponse
from strata_client import (
    Cancelled,
    Client,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Retries,
    StrataError,
    Unavailable,
)
from strata_client._calls import Call
from strata_client.retries import choose_wait

Peer = Callable[..., AbstractContextManager[str]]
QUICK = Retries(first_wait_s=0.001, longest_wait_s=0.001)


class Refusing:
    """Refuses the first calls, and answers the others."""

    def __init__(self, count: int, status: str, pushback: str | None = None) -> None:
        self.calls = 0
        self.peers: set[str] = set()
        self.asked = threading.Event()
        self._count, self._status, self._pushback = count, status, pushback

    def __call__(self, _: object, context: grpc.ServicerContext) -> ListModelsResponse:
        self.calls += 1
        self.peers.add(context.peer())
        self.asked.set()
        if self.calls <= self._count:
            if self._pushback is not None:
                context.set_trailing_metadata((("grpc-retry-pushback-ms", self._pushback),))
            context.abort(grpc.StatusCode[self._status], "not now")
        return ListModelsResponse()


@pytest.mark.parametrize(("status", "pushback"), [("UNAVAILABLE", None), ("RESOURCE_EXHAUSTED", "1")])
def test_a_call_that_may_succeed_later_is_made_again_over_another_connection(
    peer: Peer, status: str, pushback: str | None
) -> None:
    refusing = Refusing(3, status, pushback)
    with peer({"ListModels": refusing}) as address, Client(address, retries=QUICK) as client:
        assert client.models() == []
    assert (refusing.calls, len(refusing.peers)) == (4, 4)


@pytest.mark.parametrize(
    ("status", "pushback"),
    [
        ("RESOURCE_EXHAUSTED", None),
        ("RESOURCE_EXHAUSTED", "-1"),
        ("RESOURCE_EXHAUSTED", "soon"),
        ("INVALID_ARGUMENT", "1"),
        ("INTERNAL", None),
        ("DEADLINE_EXCEEDED", None),
        ("CANCELLED", None),
    ],
)
def test_what_would_be_refused_again_is_not_asked_again(peer: Peer, status: str, pushback: str | None) -> None:
    refusing = Refusing(3, status, pushback)
    with (
        peer({"ListModels": refusing}) as address,
        Client(address, retries=QUICK) as client,
        pytest.raises(StrataError),
    ):
        client.models()
    assert refusing.calls == 1


def test_attempts_are_counted_and_the_last_error_says_when_to_come_back(peer: Peer) -> None:
    refusing = Refusing(100, "RESOURCE_EXHAUSTED", "2")
    with (
        peer({"ListModels": refusing}) as address,
        Client(address, retries=Retries(attempts=3)) as client,
        pytest.raises(ResourceExhausted, match="not now") as caught,
    ):
        client.models()
    assert (refusing.calls, caught.value.retry_after_s) == (3, 0.002)


def test_a_server_that_is_gone_is_asked_more_often_than_one_that_was_never_there(peer: Peer) -> None:
    attempts = []

    def note() -> str:
        attempts.append(1)
        return "token"

    def ask(client: Client) -> int:
        attempts.clear()
        with pytest.raises(Unavailable, match="no server answers"):
            client.models()
        return len(attempts)

    retries = Retries(attempts=6, attempts_unreached=2, first_wait_s=0.001, longest_wait_s=0.001)
    with peer({"ListModels": Refusing(0, "")}) as address:
        client = Client(address, token=note, retries=retries)
        client.models()
    with client, Client(address, token=note, retries=retries) as fresh:
        assert (ask(client), ask(fresh)) == (6, 2)


def test_as_it_stands_a_lost_server_is_asked_eight_times_and_one_that_was_never_reached_four() -> None:
    lost, unreached = Unavailable(), Unavailable()
    unreached.is_unreached = True
    assert choose_wait(Retries(), 7, lost, 30) is not None
    assert choose_wait(Retries(), 8, lost, 30) is None
    assert choose_wait(Retries(), 3, unreached, 30) is not None
    assert choose_wait(Retries(), 4, unreached, 30) is None


def test_one_attempt_never_repeats(peer: Peer) -> None:
    refusing = Refusing(1, "UNAVAILABLE")
    with (
        peer({"ListModels": refusing}) as address,
        Client(address, retries=Retries(attempts=1)) as client,
        pytest.raises(Unavailable),
    ):
        client.models()
    assert refusing.calls == 1


def test_a_wait_longer_than_the_call_may_take_is_not_begun(peer: Peer) -> None:
    refusing = Refusing(1, "RESOURCE_EXHAUSTED", "60000")
    with peer({"ListModels": refusing}) as address, Client(address) as client:
        began = time.monotonic()
        with pytest.raises(ResourceExhausted) as caught:
            client.models()
    assert time.monotonic() - began < 20
    assert caught.value.retry_after_s == 60
    assert refusing.calls == 1


def test_what_is_not_safe_is_made_once(peer: Peer) -> None:
    refusing = Refusing(1, "UNAVAILABLE")
    call: Call[bytes] = Call("/strata.v1.CatalogService/ListModels", b"", bytes, is_safe=False)
    with (
        peer({"ListModels": refusing}) as address,
        Client(address, retries=QUICK) as client,
        pytest.raises(Unavailable),
    ):
        client._make(call, 20)
    assert refusing.calls == 1


def test_closing_the_client_ends_a_wait(peer: Peer) -> None:
    refusing = Refusing(1, "RESOURCE_EXHAUSTED", "20000")
    caught: list[StrataError] = []

    def ask() -> None:
        try:
            client.models()
        except StrataError as error:
            caught.append(error)

    with peer({"ListModels": refusing}) as address:
        client = Client(address)
        thread = threading.Thread(target=ask)
        thread.start()
        assert refusing.asked.wait(20)
        client.close()
        thread.join(10)
        assert not thread.is_alive()
    assert [type(error) for error in caught] == [Cancelled]


def test_where_one_server_drains_another_is_asked(peer: Peer) -> None:
    draining, serving = Refusing(10**6, "UNAVAILABLE"), Refusing(0, "")
    with ExitStack() as stack:
        addresses = [stack.enter_context(peer({"ListModels": each})) for each in (draining, serving)]
        client = stack.enter_context(Client(addresses, retries=QUICK))
        for _ in range(20):
            assert client.models() == []
    assert serving.calls == 20
    assert draining.calls < 8  # at first, and then when its rests end; in turn it would be 10 and more


@pytest.mark.parametrize(
    ("attempt", "error", "left_s", "longest_s"),
    [
        (1, Unavailable(), 30, 0.1),
        (2, Unavailable(), 30, 0.2),
        (3, Unavailable(), 30, 0.4),
        (9, Unavailable(), 30, 5),
        (999, Unavailable(), 30, 5),
    ],
)
def test_waits_are_random_parts_of_what_doubles_up_to_a_bound(
    attempt: int, error: StrataError, left_s: float, longest_s: float
) -> None:
    waits = [choose_wait(Retries(attempts=1000), attempt, error, left_s) for _ in range(500)]
    chosen = [wait for wait in waits if wait is not None]
    assert len(chosen) == 500
    assert 0 <= min(chosen) < 0.2 * longest_s
    assert 0.8 * longest_s < max(chosen) <= longest_s


def test_a_wait_is_at_least_what_the_server_wants() -> None:
    busy = ResourceExhausted()
    busy.retry_after_s = 2.0
    waits = [choose_wait(Retries(), 1, busy, 30) for _ in range(100)]
    assert all(wait and 2 <= wait <= 2.1 for wait in waits)
    assert choose_wait(Retries(), 1, busy, 2.0) is None
    assert choose_wait(Retries(), 8, busy, 30) is None
    assert choose_wait(Retries(), 1, NotFound(), 30) is None


@pytest.mark.parametrize(
    "numbers",
    [
        {"attempts": 0},
        {"attempts_unreached": 0},
        {"first_wait_s": -1},
        {"longest_wait_s": float("inf")},
        {"first_wait_s": 2, "longest_wait_s": 1},
        {"first_wait_s": float("nan")},
    ],
)
def test_numbers_that_cannot_be_meant_are_refused(numbers: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match="expected"):
        Retries(**numbers)


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf")])
def test_a_time_that_cannot_be_meant_is_refused(timeout_s: float) -> None:
    with pytest.raises(InvalidArgument, match="timeout_s: expected seconds above 0"):
        Client(timeout_s=timeout_s)
    with Client("localhost:1") as client, pytest.raises(InvalidArgument, match="timeout_s"):
        client.predict(np.zeros((1, 1), np.float32), timeout_s=timeout_s)


def test_repetitions_end_with_the_calls_time(peer: Peer) -> None:
    refusing = Refusing(10**6, "UNAVAILABLE")
    eager = Retries(attempts=10**6, first_wait_s=0.01, longest_wait_s=0.01)
    with peer({"ListModels": refusing}) as address, Client(address, retries=eager) as client:
        began = time.monotonic()
        with pytest.raises((Unavailable, DeadlineExceeded)):
            client.models(timeout_s=0.3)
    assert 0.2 < time.monotonic() - began < 10
    assert refusing.calls > 2
