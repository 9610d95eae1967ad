"""A web page that a user of the server visits reaches nothing: THREATS of a browser."""

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from artifacts import SIDE, write_artifact
from processes import ServerProcess, serving

PATHS = ["/v2", "/v2/models/tiny", "/healthz", "/readyz", "/docs", "/openapi.json", "/nope"]
BODY = {"inputs": [{"name": "image", "shape": [1, SIDE, SIDE, 1], "datatype": "FP32", "data": [0.5] * 16}]}


@pytest.fixture(scope="module")
def http(tiny: ServerProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=tiny.http, timeout=20) as client:
        yield client


def ask(http: httpx.Client, path: str = "/v2", **headers: str) -> httpx.Response:
    return http.get(path, headers=headers)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "localhost.evil.example", "", "a b", "[", "127.0.0.1@evil.example:1x"]
)
def test_a_name_that_was_bent_to_this_address_is_refused(http: httpx.Client, path: str, host: str) -> None:
    answer = ask(http, path, host=host)
    assert answer.status_code == 421
    assert "--http-hosts" in answer.json()["error"]


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8000", "localhost.", "127.0.0.1", "10.1.2.3:80", "[::1]:8000", socket.gethostname()],
)
def test_addresses_localhost_and_this_machine_are_answered(http: httpx.Client, host: str) -> None:
    assert ask(http, host=host).status_code == 200


def test_more_names_may_be_allowed(tmp_path: Path) -> None:
    write_artifact(tmp_path)
    with serving(tmp_path, "--http-hosts", "models.example, other.example") as server:
        assert httpx.get(f"{server.http}/v2", headers={"host": "models.example:8000"}).status_code == 200
        assert httpx.get(f"{server.http}/v2", headers={"host": "Other.Example"}).status_code == 200
        assert httpx.get(f"{server.http}/v2", headers={"host": "third.example"}).status_code == 421


def test_any_name_may_be_allowed(tmp_path: Path) -> None:
    write_artifact(tmp_path)
    with serving(tmp_path, "--http-hosts", "*") as server:
        assert httpx.get(f"{server.http}/v2", headers={"host": "third.example"}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://localhost:9", "file://", ""])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_a_page_of_another_origin_is_refused(http: httpx.Client, method: str, origin: str) -> None:
    answer = http.request(method, "/v2/repository/index", headers={"origin": origin})
    assert answer.status_code == 403
    assert "Origin" in answer.json()["error"]


def test_a_page_of_this_server_is_answered(http: httpx.Client, tiny: ServerProcess) -> None:
    headers = {"origin": tiny.http}
    assert http.post("/v2/models/tiny/infer", json=BODY, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "nonsense"]
)
def test_what_a_form_can_send_is_not_read(http: httpx.Client, kind: str) -> None:
    answer = http.post("/v2/models/tiny/infer", json=BODY, headers={"content-type": kind})
    assert answer.status_code == 415
    assert "application/json or application/octet-stream" in answer.json()["error"]


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/octet-stream"])
def test_what_clients_send_is_read(http: httpx.Client, kind: str) -> None:
    assert http.post("/v2/models/tiny/infer", json=BODY, headers={"content-type": kind}).status_code == 200


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_forbids_a_browser_to_guess_frame_or_share_it(http: httpx.Client, path: str) -> None:
    headers = ask(http, path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert not [name for name in headers if name.startswith("access-control")]
    assert "server" not in headers


def test_a_preflight_gets_no_leave(http: httpx.Client, tiny: ServerProcess) -> None:
    headers = {"origin": tiny.http, "access-control-request-method": "POST"}
    answer = http.options("/v2/models/tiny/infer", headers=headers)
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_hostile_name_comes_back_as_json_and_nothing_else(http: httpx.Client) -> None:
    answer = ask(http, "/v2/models/%3Cimg%20src=x%20onerror=alert(1)%3E")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/json"
    assert ask(http, "/v2/models/..%2f..%2fetc").status_code == 404
    assert ask(http, "/v2/models/a%0d%0aset-cookie:x").headers.get("set-cookie") is None
