import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from processes import ServerProcess
from strata_client import Client, InvalidArgument, Retries, _addresses


@pytest.mark.parametrize(
    ("given", "parsed"),
    [
        ("localhost:8001", ("localhost:8001",)),
        ("gpu1:8001, gpu2:8001", ("gpu1:8001", "gpu2:8001")),
        (["gpu1:8001", "10.0.0.7:1"], ("gpu1:8001", "10.0.0.7:1")),
        ("[::1]:8001", ("[::1]:8001",)),
        ("dns:///models.example:8001", ("dns:///models.example:8001",)),
        ("dns://10.0.0.1/models.example:8001", ("dns://10.0.0.1/models.example:8001",)),
        ("ipv6:[2001:db8::1]:443,ipv4:10.0.0.1:443", ("ipv6:[2001:db8::1]:443", "ipv4:10.0.0.1:443")),
        ("unix:/run/strata.sock", ("unix:/run/strata.sock",)),
    ],
)
def test_an_address_is_a_host_and_port_or_what_grpc_takes_besides(given: str | list[str], parsed: tuple[str]) -> None:
    assert _addresses.parse(given) == parsed


@pytest.mark.parametrize(
    "given",
    [
        "",
        [],
        ",",
        "gpu1",
        "gpu1:",
        ":8001",
        "gpu1:0",
        "gpu1:65536",
        "::1:8001",
        "http://gpu1:8001",
        "gpu1:8001,",
        "unix:",
        "dns:///gpu1",
        "a b:1",
        "gpu1:8001,gpu1:8001",
    ],
)
def test_anything_else_is_refused_with_what_is_expected(given: str | list[str]) -> None:
    with pytest.raises(InvalidArgument, match="address: expected"):
        Client(given)


@pytest.mark.parametrize(
    "address",
    [
        "localhost:1",
        "LOCALHOST.:1",
        "127.9.9.9:1",
        "[::1]:1",
        "ipv4:127.0.0.1:1",
        "ipv6:[::1]:1",
        "dns:///localhost:1",
        "unix:/s",
    ],
)
def test_this_machine_is_known_by_its_address(address: str) -> None:
    assert _addresses.is_local(address)


@pytest.mark.parametrize(
    "address", ["gpu1:1", "0.0.0.0:1", "10.0.0.1:1", "[::2]:1", "localhost.example:1", "dns:///a:1"]
)
def test_any_other_machine_is_not_this_one(address: str) -> None:
    assert not _addresses.is_local(address)


@pytest.mark.parametrize("form", ["dns:///localhost:{}", "ipv4:127.0.0.1:{}", "localhost:{}"])
def test_a_server_is_reached_by_every_form_of_its_address(tiny: ServerProcess, form: str) -> None:
    address = form.format(tiny.grpc.rpartition(":")[2])
    with Client(address) as client:
        assert client.health().servers == {address: "serving"}


def test_a_server_on_ipv6_and_one_on_a_socket_file_are_asked_in_turn(tmp_path: Path) -> None:
    asked = []

    def answer(_: bytes, context: grpc.ServicerContext) -> bytes:
        asked.append(context.peer()[:4])
        return b""

    with ThreadPoolExecutor(1) as threads:
        server = grpc.server(threads)
        methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "ListModels": grpc.unary_unary_rpc_method_handler(answer)
        }
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("strata.v1.CatalogService", methods)])
        port, file = server.add_insecure_port("[::1]:0"), f"unix:{tmp_path}/s"
        server.add_insecure_port(file)
        server.start()
        with Client(f"[::1]:{port},{file}", token="secret") as client:  # noqa: S106 - of nobody
            assert [client.models() for _ in range(4)] == [[]] * 4
        server.stop(0).wait(10)
    assert asked == ["ipv6", "unix"] * 2


def test_the_health_of_each_server_is_told(tiny: ServerProcess) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        silent = f"127.0.0.1:{unused.getsockname()[1]}"
    with Client([tiny.grpc, silent], retries=Retries(first_wait_s=0.01, longest_wait_s=0.01)) as client:
        health = client.health()
        assert client.models()  # of the one that serves
    assert not health.serving
    assert health.servers == {
        tiny.grpc: "serving",
        silent: f"no server answers at {silent}: Connection refused",
    }
