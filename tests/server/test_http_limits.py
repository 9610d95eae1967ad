"""What the HTTP port does about callers who send too much, too slowly, nothing that is HTTP, or hang up."""

import contextlib
import gzip
import json
import re
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from artifacts import SIDE, write_artifact
from processes import ServerProcess, serving
from slowness import slow_repository
from strata_server.errors import Overloaded
from strata_server.http.answers import Answers
from typed_models import write_typed
from waiting import wait_until

INFER = "/v2/models/tiny/infer"
LIMIT = 100_000
GOOD = {"name": "image", "shape": [1, SIDE, SIDE, 1], "datatype": "FP32", "data": [0.5] * 16}
BODY = json.dumps({"inputs": [GOOD]}).encode()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Serve the tiny artifact with a small limit."""
    models = tmp_path_factory.mktemp("small") / "models"
    write_artifact(models)
    with serving(models, "--max-message-bytes", str(LIMIT)) as server:
        yield server


def connect(server: ServerProcess) -> socket.socket:
    host, port = server.http.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=30)


def head(*headers: str, path: str = INFER, method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()


def read_answer(connection: socket.socket) -> tuple[int, dict[str, Any], bytes]:
    """Return status, JSON and headers of an answer."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += receive(connection)
    headers, _, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", headers)
    assert length, data
    while len(body) < int(length[1]):
        body += receive(connection)
    return int(headers.split()[1]), json.loads(body), headers


def receive(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    assert data, "the connection ended"
    return data


def assert_serves(server: ServerProcess) -> None:
    answer = httpx.post(f"{server.http}{INFER}", content=BODY, timeout=20)
    assert answer.status_code == 200, answer.text


def test_a_body_that_says_it_is_too_large_is_refused_before_it_comes(small: ServerProcess) -> None:
    with connect(small) as connection:
        connection.sendall(head(f"Content-Length: {LIMIT + 1}"))
        status, told, headers = read_answer(connection)
    assert status == 413
    assert told == {"error": f"expected a body of at most {LIMIT} bytes, received {LIMIT + 1}"}
    assert b"connection: close" in headers
    assert_serves(small)


def test_a_caller_who_sends_it_all_first_reads_the_refusal(small: ServerProcess) -> None:
    answer = httpx.post(f"{small.http}{INFER}", content=bytes(20 * 2**20), timeout=20)
    assert answer.status_code == 413


def test_a_body_that_does_not_say_how_large_it_is_is_refused_as_it_grows(small: ServerProcess) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(100):
            yield bytes(10_000)

    answer = httpx.post(f"{small.http}{INFER}", content=pieces(), timeout=20)
    assert answer.status_code == 413
    assert "received more" in answer.json()["error"]
    assert_serves(small)


@pytest.mark.parametrize(("coding", "window"), [("gzip", 31), ("deflate", 15)])
def test_a_body_is_measured_as_it_expands(small: ServerProcess, coding: str, window: int) -> None:
    packing = zlib.compressobj(wbits=window)
    bomb = b"".join(packing.compress(bytes(2**20)) for _ in range(64)) + packing.flush()
    assert len(bomb) < LIMIT
    before = psutil.Process(small.process.pid).memory_info().rss
    answer = httpx.post(f"{small.http}{INFER}", content=bomb, headers={"content-encoding": coding}, timeout=20)
    assert answer.status_code == 413
    assert psutil.Process(small.process.pid).memory_info().rss < before + 32 * 2**20
    assert_serves(small)


@pytest.mark.parametrize(
    ("coding", "content", "status", "reason"),
    [
        ("gzip", BODY, 400, "compressed as its content-encoding says"),
        ("gzip", gzip.compress(BODY)[:-5], 400, "cut off"),
        ("gzip", gzip.compress(BODY) + b"more", 400, "received more behind its end"),
        ("gzip", b"", 400, "cut off"),
        ("br", BODY, 415, "expected the content-encoding gzip or deflate, received 'br'"),
        ("gzip, gzip", gzip.compress(gzip.compress(BODY)), 415, "content-encoding"),
    ],
)
def test_a_broken_or_unknown_coding_is_refused(
    small: ServerProcess, coding: str, content: bytes, status: int, reason: str
) -> None:
    answer = httpx.post(f"{small.http}{INFER}", content=content, headers={"content-encoding": coding}, timeout=20)
    assert answer.status_code == status
    assert reason in answer.json()["error"]
    assert_serves(small)


def test_an_answer_over_the_limit_is_never_to_be_asked_again(small: ServerProcess) -> None:
    rows = np.ones((700, SIDE, SIDE, 1), np.float32)
    given = {**GOOD, "shape": list(rows.shape), "parameters": {"binary_data_size": rows.nbytes}}
    del given["data"]
    front = json.dumps({"inputs": [given], "outputs": [{"name": "double"}, {"name": "flat"}, {"name": "image"}]})
    headers = {"inference-header-content-length": str(len(front))}
    answer = httpx.post(f"{small.http}{INFER}", content=front.encode() + rows.tobytes(), headers=headers, timeout=20)
    assert answer.status_code == 413
    assert "retry-after" not in answer.headers
    assert f"at most {LIMIT} bytes" in answer.json()["error"]


def test_an_answer_is_measured_in_the_form_in_which_it_goes(small: ServerProcess) -> None:
    rows = np.random.default_rng(4).random((1400, SIDE, SIDE, 1), np.float32) * np.float32(1e-20)
    given = {**GOOD, "shape": list(rows.shape), "parameters": {"binary_data_size": rows.nbytes}}
    del given["data"]

    def ask(is_binary: bool) -> httpx.Response:
        wanted = {"name": "double", "parameters": {"binary_data": is_binary}}
        front = json.dumps({"inputs": [given], "outputs": [wanted]}).encode()
        headers = {"inference-header-content-length": str(len(front))}
        return httpx.post(f"{small.http}{INFER}", content=front + rows.tobytes(), headers=headers, timeout=20)

    assert len(ask(is_binary=True).content) > rows.nbytes
    answer = ask(is_binary=False)
    assert answer.status_code == 413
    assert re.match(
        rf"expected an answer of at most {LIMIT} bytes, received a request for \d{{6}};", answer.json()["error"]
    )


def test_strings_that_grow_in_json_are_measured_as_they_go(tmp_path: Path) -> None:
    write_typed(tmp_path)
    raw = b"".join(len(text).to_bytes(4, "little") + text for text in [b"\1" * 60_000, b"a"])
    given = {"name": "text", "shape": [1, 2], "datatype": "BYTES", "parameters": {"binary_data_size": len(raw)}}
    front = json.dumps({"inputs": [given], "outputs": [{"name": "joined"}]}).encode()
    headers = {"inference-header-content-length": str(len(front))}
    with serving(tmp_path, "--max-message-bytes", str(LIMIT)) as server:
        url = f"{server.http}/v2/models/words/infer"
        answer = httpx.post(url, content=front + raw, headers=headers, timeout=20)
    assert answer.status_code == 413
    assert f"expected an answer of at most {LIMIT} bytes, received a request for 36" in answer.json()["error"]


def test_json_over_its_limit_is_told_to_come_as_binary(tiny: ServerProcess) -> None:
    content = b'{"id": "' + b"a" * 17 * 2**20 + b'"}'
    answer = httpx.post(f"{tiny.http}{INFER}", content=content, timeout=20)
    assert answer.status_code == 413
    assert "send tensors as binary data" in answer.json()["error"]


def test_headers_and_bodies_that_do_not_come_are_not_waited_for(small: ServerProcess) -> None:
    """Each takes 10 s; they wait at the same time."""
    with connect(small) as headless, connect(small) as half, connect(small) as nothing, connect(small) as second:
        headless.sendall(b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: local")
        half.sendall(head("Content-Length: 1000") + b"{")
        second.sendall(head(f"Content-Length: {len(BODY)}") + BODY)
        assert read_answer(second)[0] == 200
        second.sendall(b"GET /v2 HTT")  # the next request of a connection that has asked before
        assert_serves(small)
        status, told, _ = read_answer(half)
        assert status == 408
        assert told == {"error": "expected the body within 10 s, received 1 bytes of it"}
        assert headless.recv(1) == b""
        assert nothing.recv(1) == b""
        assert second.recv(1) == b""
    assert_serves(small)


def test_a_caller_who_hangs_up_in_the_middle_of_a_body_leaves_nothing_behind(small: ServerProcess) -> None:
    for _ in range(50):
        with connect(small) as connection:
            connection.sendall(head("Content-Length: 90000") + bytes(60_000))
    assert_serves(small)
    process = psutil.Process(small.process.pid)
    wait_until(lambda: len(process.net_connections("tcp")) <= 4)
    assert "Traceback" not in small.log


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"\x00\x01\x02\x03\r\n\r\n", "illegal request line"),
        (b"POST /v2 HTTP/1.1\r\n\r\n", "Missing mandatory Host: header"),
        (b"POST /v2 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "multiple Host: headers"),
        (b"GET /v2 HTTP/1.1\r\nHost : a\r\n\r\n", "illegal header line"),
        (head("Content-Length: many"), "bad Content-Length"),
        (head("Content-Length: -1"), "bad Content-Length"),
        (head("Content-Length: 5", "Content-Length: 6"), "conflicting Content-Length headers"),
        (head("Transfer-Encoding: chunked") + b"zz\r\n", "illegal chunk header"),
        (head("Transfer-Encoding: gzip"), "Transfer-Encoding"),
    ],
)
def test_what_is_no_http_is_told_in_json_and_ended(small: ServerProcess, text: bytes, reason: str) -> None:
    with connect(small) as connection:
        connection.sendall(text)
        status, told, _ = read_answer(connection)
        assert status == 400
        assert told["error"].startswith("expected a request of HTTP/1.1; received another: ")
        assert reason in told["error"]
        assert connection.recv(1) == b""
    assert_serves(small)
    assert "uvicorn" not in small.log


def test_a_wish_for_another_protocol_is_passed_over_without_a_word_in_the_log(small: ServerProcess) -> None:
    with connect(small) as connection:
        connection.sendall(head("Connection: Upgrade", "Upgrade: websocket", path="/v2", method="GET"))
        assert read_answer(connection)[0] == 200
    assert "uvicorn" not in small.log


@pytest.mark.parametrize(
    ("headers", "path", "status"),
    [
        (["X: " + "a" * 17_000], "/v2", 431),
        ([f"X-{i}: a" for i in range(120)], "/v2", 431),
        ([], "/v2?" + "a" * 9_000, 414),
    ],
)
def test_headers_and_paths_are_bounded(small: ServerProcess, headers: list[str], path: str, status: int) -> None:
    with connect(small) as connection:
        connection.sendall(head(*headers, path=path, method="GET"))
        assert read_answer(connection)[0] == status


def test_a_body_whose_end_is_told_in_two_ways_is_refused_and_nothing_behind_it_is_read(small: ServerProcess) -> None:
    with connect(small) as connection:
        smuggled = b"0\r\n\r\n" + head(path="/v2", method="GET")
        connection.sendall(head("Content-Length: 5", "Transfer-Encoding: chunked") + smuggled)
        status, told, headers = read_answer(connection)
        assert status == 400
        assert told == {"error": "expected Content-Length or Transfer-Encoding, received both"}
        assert b"connection: close" in headers
        assert connection.recv(1) == b""


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("Origin", ["http://localhost", "http://evil.example"]),
        ("Content-Type", ["application/json", "text/plain"]),
        ("Content-Encoding", ["identity", "gzip"]),
        ("Inference-Header-Content-Length", ["2", "4"]),
    ],
)
def test_a_header_that_stands_there_twice_is_refused(small: ServerProcess, name: str, values: list[str]) -> None:
    with connect(small) as connection:
        connection.sendall(head(*(f"{name}: {value}" for value in values), f"Content-Length: {len(BODY)}") + BODY)
        assert read_answer(connection)[:2] == (400, {"error": f"expected one header {name}, received 2"})


def test_headers_without_end_are_cut_off(small: ServerProcess) -> None:
    with connect(small) as connection:
        connection.sendall(b"GET /v2 HTTP/1.1\r\nX: " + b"a" * 60_000)
        status, told, _ = read_answer(connection)
    assert status == 400
    assert "expected a request of HTTP/1.1" in told["error"]


def test_a_body_with_a_question_that_has_none_does_not_become_the_next_question(small: ServerProcess) -> None:
    with connect(small) as connection:
        smuggled = head(path="/nope", method="GET")
        connection.sendall(head(f"Content-Length: {len(smuggled)}", path="/v2", method="GET") + smuggled)
        assert read_answer(connection)[:2] == (
            400,
            {"error": f"expected no body with GET, received {len(smuggled)} bytes"},
        )
        connection.sendall(head(path="/healthz", method="GET"))
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")


def test_requests_one_behind_the_other_are_answered_in_turn(small: ServerProcess) -> None:
    with connect(small) as connection:
        connection.sendall((head(f"Content-Length: {len(BODY)}") + BODY) * 3)
        assert connection.recv(12) == b"HTTP/1.1 200"
        wait_until(lambda: connection.recv(65536, socket.MSG_PEEK).count(b"HTTP/1.1 200") == 2)


def large_request(rows: int) -> bytes:
    """Return a small request for a large answer: as many rows of 64 bytes."""
    raw = bytes(64 * rows)
    given = {"name": "image", "shape": [rows, SIDE, SIDE, 1], "datatype": "FP32"}
    asked = {
        "inputs": [{**given, "parameters": {"binary_data_size": len(raw)}}],
        "outputs": [{"name": "double", "parameters": {"binary_data": True}}],
    }
    front = json.dumps(asked).encode()
    body = gzip.compress(front + raw, 1)
    described = ["Content-Encoding: gzip", f"Inference-Header-Content-Length: {len(front)}"]
    return head(*described, f"Content-Length: {len(body)}") + body


def test_answers_that_are_not_read_are_given_up(tmp_path: Path) -> None:
    write_artifact(tmp_path)
    request = large_request(rows=780_000)
    with serving(tmp_path) as server, contextlib.ExitStack() as stack:
        process = psutil.Process(server.process.pid)
        connections = [stack.enter_context(unhurried(server)) for _ in range(3)]
        for connection in connections:
            connection.sendall(request)
            assert connection.recv(12, socket.MSG_WAITALL)[-3:] == b"200"
        # One of them is read, but slower than is waited for.
        wait_until(lambda: bool(connections[0].recv(100)) and count_connections(process) == 0, bound_s=90)
        assert_serves(server)


def test_an_answer_alone_is_sent_however_large_it_is() -> None:
    answers = Answers(at_a_time_bytes=100)
    with answers.hold() as large:
        large.count(500)
        large.count(300)
        with (
            answers.hold() as small,
            pytest.raises(Overloaded, match=r"at most 100 bytes .* a request for 1 beside 300"),
        ):
            small.count(1)
    with answers.hold() as first, answers.hold() as second:
        first.count(50)
        second.count(50)


def count_connections(process: psutil.Process) -> int:
    return sum(each.status == psutil.CONN_ESTABLISHED for each in process.net_connections("tcp"))


def unhurried(server: ServerProcess) -> socket.socket:
    """Connect with little room for what is not read yet."""
    host, port = server.http.removeprefix("http://").split(":")
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(30)
    connection.connect((host, int(port)))
    return connection


def test_the_work_of_callers_who_have_hung_up_is_not_done(tmp_path: Path) -> None:
    models = slow_repository(tmp_path, rounds=150)
    body = {"inputs": [GOOD]}
    with serving(models, "--threads", "1", "--batch-rows", "1") as server:
        url = f"{server.http}/v2/models/slow/infer"
        began = time.monotonic()
        assert httpx.post(url, json=body, timeout=60).status_code == 200
        one_s = time.monotonic() - began

        process = psutil.Process(server.process.pid)
        start = process.cpu_times().user
        running = threading.Thread(target=httpx.post, args=[url], kwargs={"json": body, "timeout": 60})
        running.start()
        wait_until(lambda: process.cpu_times().user > start + one_s / 10)
        for _ in range(10):
            with connect(server) as connection:
                text = json.dumps(body).encode()
                connection.sendall(head(f"Content-Length: {len(text)}", path="/v2/models/slow/infer") + text)
        running.join()
        assert httpx.post(url, json=body, timeout=60).status_code == 200
        # Two runs, and not twelve.
        assert process.cpu_times().user - start < 6 * one_s


def test_a_stopping_server_finishes_what_came_over_http_and_takes_no_more(tmp_path: Path) -> None:
    models = slow_repository(tmp_path, rounds=150)
    body = {"inputs": [GOOD]}
    with serving(models, "--threads", "1") as server:
        url = f"{server.http}/v2/models/slow/infer"
        process = psutil.Process(server.process.pid)
        start = process.cpu_times().user
        answers: list[int] = []
        running = threading.Thread(target=lambda: answers.append(httpx.post(url, json=body, timeout=60).status_code))
        running.start()
        wait_until(lambda: process.cpu_times().user > start + 0.1)
        server.signal_stop()
        wait_until(lambda: httpx.get(f"{server.http}/v2/health/ready").status_code == 503)
        refused = httpx.post(url, json=body, timeout=60)
        assert refused.status_code == 503
        assert "stopping" in refused.json()["error"]
        running.join()
        assert answers == [200]
        assert server.wait() == 0


def test_a_call_over_http_longer_than_the_drain_is_told_so(tmp_path: Path) -> None:
    models = slow_repository(tmp_path, rounds=300)
    with serving(models, "--threads", "1", "--drain-s", "0") as server:
        process = psutil.Process(server.process.pid)
        start = process.cpu_times().user
        with connect(server) as connection:
            connection.sendall(head(f"Content-Length: {len(BODY)}", path="/v2/models/slow/infer") + BODY)
            wait_until(lambda: process.cpu_times().user > start + 0.1)
            server.signal_stop()
            status, told, headers = read_answer(connection)
        assert (status, told) == (503, {"error": "the server stopped before the answer was there"})
        assert b"connection: close" in headers
        assert server.wait(wait_s=5) == 0  # the run itself goes on for longer


def test_a_stopping_server_does_not_wait_for_bodies(tmp_path: Path) -> None:
    write_artifact(tmp_path)
    with serving(tmp_path) as server, connect(server) as half:
        half.sendall(head("Content-Length: 1000") + b"{")
        assert_serves(server)
        server.signal_stop()
        status, told, headers = read_answer(half)
        assert (status, told) == (503, {"error": "the server is stopping and takes no new calls"})
        assert b"connection: close" in headers
        half.close()
        assert server.wait(wait_s=5) == 0  # a body may take 10 s


def test_a_stopping_server_ends_connections_with_their_answers(tmp_path: Path) -> None:
    models = slow_repository(tmp_path, rounds=150)
    with serving(models, "--threads", "1") as server, connect(server) as kept, connect(server) as running:
        kept.sendall(head(path="/v2/health/ready", method="GET"))
        assert b"connection: close" not in read_answer(kept)[2]
        process = psutil.Process(server.process.pid)
        start = process.cpu_times().user
        running.sendall(head(f"Content-Length: {len(BODY)}", path="/v2/models/slow/infer") + BODY)
        wait_until(lambda: process.cpu_times().user > start + 0.1)
        server.signal_stop()
        wait_until(lambda: httpx.get(f"{server.http}/readyz").status_code == 503)
        kept.sendall(head(path="/v2/health/ready", method="GET"))
        status, _, headers = read_answer(kept)
        assert status == 503
        assert b"connection: close" in headers
        assert kept.recv(1) == b""
        status, _, headers = read_answer(running)
        assert status == 200
        assert b"connection: close" in headers


def test_overload_says_when_to_try_again(tmp_path: Path) -> None:
    models = slow_repository(tmp_path, rounds=60)
    body = {"inputs": [GOOD]}
    with serving(models, "--threads", "1", "--batch-rows", "1", "--queue-rows", "2") as server:
        url = f"{server.http}/v2/models/slow/infer"
        answers: list[httpx.Response] = []
        asking = [
            threading.Thread(target=lambda: answers.append(httpx.post(url, json=body, timeout=60))) for _ in range(8)
        ]
        for each in asking:
            each.start()
        for each in asking:
            each.join()
        refused = [answer for answer in answers if answer.status_code != 200]
        assert {answer.status_code for answer in refused} == {429}
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
        assert len(refused) < len(answers)
