import threading
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import psutil
import pytest
from artifacts import SIDE, write_artifact
from processes import serving
from strata_client import Client
from strata_client._connections import Connections
from strata_client.errors import InvalidArgument
from waiting import wait_until

ADDRESS = "127.0.0.1:9"  # nothing is asked


def test_calls_one_after_the_other_share_a_connection() -> None:
    connections = Connections(ADDRESS, 2**20, most=4)
    with connections.borrow() as first:
        pass
    with connections.borrow() as second:
        assert second is first


def test_calls_at_the_same_time_get_connections_of_their_own_up_to_a_number() -> None:
    connections = Connections(ADDRESS, 2**20, most=3)
    with ExitStack() as stack:
        borrowed = [stack.enter_context(connections.borrow()) for _ in range(6)]
        assert len(set(map(id, borrowed))) == 3
        assert [each.calls for each in set(borrowed)] == [2, 2, 2]
    assert {each.calls for each in borrowed} == {0}


def test_no_connection_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="connections: expected 1 or more; received 0"):
        Client(ADDRESS, connections=0)


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
