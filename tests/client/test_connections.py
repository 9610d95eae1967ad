import threading
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from artifacts import SIDE, write_artifact
from processes import serving
from strata_client import (
    AsyncClient,
    Client,
    DeadlineExceeded,
    InvalidArgument,
    ResourceExhausted,
    StrataError,
    Unavailable,
)
from strata_client._connections import Connection, Connections
from waiting import wait_until


class Channel:
    """Nothing is asked: it only counts."""

    def __init__(self, address: str) -> None:
        self.address = address

    def unary_unary(self, method: str) -> Any:
        raise NotImplementedError

    def close(self) -> None:
        pass


def connect(*addresses: str, most: int = 4) -> Connections[Channel]:
    return Connections(addresses, Channel, most)


def end(connections: Connections[Channel], taken: Iterable[Connection[Channel]], error: StrataError | None) -> None:
    for connection in taken:
        connections.give_back(connection, error)


def test_calls_one_after_the_other_share_a_connection() -> None:
    connections = connect("a:1")
    first = connections.take()
    end(connections, [first], None)
    assert connections.take() is first


def test_calls_at_the_same_time_get_connections_of_their_own_up_to_a_number() -> None:
    connections = connect("a:1", most=3)
    taken = [connections.take() for _ in range(6)]
    assert len(set(map(id, taken))) == 3
    assert [each.calls for each in set(taken)] == [2, 2, 2]
    end(connections, taken, None)
    assert {each.calls for each in taken} == {0}


def test_addresses_are_asked_in_turn() -> None:
    connections = connect("a:1", "b:1")
    names = []
    for _ in range(4):
        taken = connections.take()
        names.append(taken.address.name)
        end(connections, [taken], None)
    assert names == ["a:1", "b:1", "a:1", "b:1"]


def test_calls_at_the_same_time_are_spread_over_the_addresses() -> None:
    connections = connect("a:1", "b:1", "c:1", most=2)
    taken = [connections.take() for _ in range(6)]
    assert Counter(each.address.name for each in taken) == {"a:1": 2, "b:1": 2, "c:1": 2}
    assert len(set(map(id, taken))) == 6


@pytest.mark.parametrize("error", [Unavailable(), ResourceExhausted(), DeadlineExceeded()])
def test_after_a_failure_the_next_call_takes_another_connection_to_the_only_address(error: StrataError) -> None:
    connections = connect("a:1", most=2)
    first = connections.take()
    end(connections, [first], error)
    second = connections.take()
    assert second is not first
    end(connections, [second], error)
    assert connections.take() in {first, second}


def test_an_address_at_which_nobody_answered_is_passed_over_for_a_growing_while() -> None:
    connections = connect("a:1", "b:1")
    silent = connections._addresses["a:1"]
    rests = []
    for _ in range(3):
        silent.rests_until = 0.0  # as if it had passed
        before = time.monotonic()
        end(connections, [connections.take("a:1")], Unavailable())
        rests.append(silent.rests_until - before)
        taken = [connections.take() for _ in range(12)]
        assert {each.address.name for each in taken} == {"b:1"}
        end(connections, taken, None)
    assert rests == sorted(rests)
    assert rests[-1] > 3 * rests[0]
    end(connections, [connections.take("a:1")], None)
    assert "a:1" in {connections.take().address.name for _ in range(2)}


def test_an_address_that_hangs_is_passed_over_for_at_least_as_long_as_it_was_waited_for() -> None:
    connections = connect("a:1", "b:1")
    began = time.monotonic()
    connections.give_back(connections.take("a:1"), DeadlineExceeded(), 30)
    assert connections._addresses["a:1"].rests_until >= began + 30
    assert {connections.take().address.name for _ in range(4)} == {"b:1"}


def test_where_all_addresses_rest_all_are_asked() -> None:
    connections = connect("a:1", "b:1")
    for name in ("a:1", "b:1"):
        end(connections, [connections.take(name)], Unavailable())
    assert {connections.take().address.name for _ in range(2)} == {"a:1", "b:1"}


@pytest.mark.parametrize("count", [0, -1, 2**31])
def test_a_size_that_no_message_can_have_is_refused(count: int) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(InvalidArgument, match=f"max_message_bytes: expected a number from 1 .*; received {count}"):
            kind("localhost:9", max_message_bytes=count)


def test_no_connection_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="connections: expected 1 or more; received 0"):
        Client("localhost:9", connections=0)


def test_a_busy_client_reaches_every_worker(tmp_path: Path) -> None:
    write_artifact(tmp_path / "models")
    image = np.ones((1, SIDE, SIDE, 1), np.float32)
    with serving(tmp_path / "models", "--workers", "2") as server, Client(server.grpc, connections=16) as client:
        ended = threading.Event()

        def ask() -> None:
            while not ended.is_set():
                client.predict(image)

        threads = [threading.Thread(target=ask) for _ in range(16)]
        for thread in threads:
            thread.start()
        workers = server.workers
        try:
            wait_until(lambda: all(is_connected(worker) for worker in workers))
        finally:
            ended.set()
            for thread in threads:
                thread.join()


def is_connected(process: psutil.Process) -> bool:
    return any(each.status == psutil.CONN_ESTABLISHED for each in process.net_connections("tcp"))
