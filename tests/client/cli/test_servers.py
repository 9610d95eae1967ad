import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from click.testing import CliRunner, Result
from processes import BIN, ServerProcess
from strata.v1 import catalog_pb2_grpc
from strata.v1.catalog_pb2 import ListModelsResponse
from strata_client.cli import main

TOKEN = "tok3n-of-nobody"  # noqa: S105 - of nobody


@dataclass
class Guarded:
    """A server that wants TLS and a caller's certificate, and the files that open it."""

    address: str
    folder: Path
    tokens: list[str] = field(default_factory=list)
    """What callers sent."""

    def name(self, *options: str) -> list[str]:
        """Return options with the file of each."""
        return [word for option in options for word in (f"--{option}", str(self.folder / f"{option}.pem"))]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    authority = trustme.CA()
    server, caller = authority.issue_cert("strata.example"), authority.issue_cert("caller.example")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    caller.private_key_pem.write_to_path(folder / "key.pem")
    caller.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    credentials = grpc.ssl_server_credentials(
        [(server.private_key_pem.bytes(), server.cert_chain_pems[0].bytes())],
        root_certificates=authority.cert_pem.bytes(),
        require_client_auth=True,
    )
    with ThreadPoolExecutor(2) as threads:
        grpc_server = grpc.server(threads)
        made = Guarded(f"localhost:{grpc_server.add_secure_port('127.0.0.1:0', credentials)}", folder)

        def answer(_: object, context: grpc.ServicerContext) -> ListModelsResponse:
            made.tokens.append(str(dict(context.invocation_metadata()).get("authorization", "")))
            return ListModelsResponse()

        servicer: Any = type("Guard", (catalog_pb2_grpc.CatalogServiceServicer,), {})()
        servicer.ListModels = answer
        catalog_pb2_grpc.add_CatalogServiceServicer_to_server(servicer, grpc_server)
        grpc_server.start()
        yield made
        grpc_server.stop(0).wait(10)


def ask(guarded: Guarded, *arguments: str, **environment: str) -> Result:
    command = ["models", "--server", guarded.address, "--timeout", "5", *arguments]
    return CliRunner().invoke(main, command, env=environment)


def test_certificates_and_a_token_open_a_guarded_server(guarded: Guarded, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    options = [*guarded.name("ca", "cert", "key"), "--server-name", "strata.example"]
    done = ask(guarded, *options, "--token-file", str(tmp_path / "token"))
    assert (done.exit_code, guarded.tokens[-1]) == (0, f"Bearer {TOKEN}")


def test_the_environment_says_the_same(guarded: Guarded) -> None:
    files = {f"STRATA_{name.upper()}": str(guarded.folder / f"{name}.pem") for name in ("ca", "cert", "key")}
    done = ask(guarded, "--server-name", "strata.example", **files, STRATA_TOKEN=TOKEN)
    assert (done.exit_code, guarded.tokens[-1]) == (0, f"Bearer {TOKEN}")


def test_a_token_in_a_file_goes_before_the_one_in_the_environment(guarded: Guarded, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("other")
    options = [*guarded.name("ca", "cert", "key"), "--server-name", "strata.example"]
    ask(guarded, *options, STRATA_TOKEN=TOKEN, STRATA_TOKEN_FILE=str(tmp_path / "token"))
    assert guarded.tokens[-1] == "Bearer other"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["ca"], "Hostname Verification Check failed"),
        ([], "CERTIFICATE_VERIFY_FAILED"),
    ],
)
def test_a_server_that_is_not_the_one_named_is_not_asked_and_will_not_be_later(
    guarded: Guarded, options: list[str], reason: str
) -> None:
    done = ask(guarded, "--tls", *guarded.name(*options))
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith(f"strata: no server answers at {guarded.address}: {reason}")


@pytest.mark.parametrize("command", ["models", "health"])
def test_a_server_that_does_not_encrypt_will_not_do_so_later(tiny: ServerProcess, command: str) -> None:
    done = CliRunner().invoke(main, [command, "--server", tiny.grpc, "--tls"])
    assert done.exit_code == 1
    assert f"no server answers at {tiny.grpc}: WRONG_VERSION_NUMBER" in done.output


def test_a_connection_that_the_server_closes_may_be_worth_another_try(guarded: Guarded) -> None:
    done = ask(guarded)  # without TLS
    assert (done.exit_code, done.stdout) == (4, "")
    assert done.stderr == f"strata: no server answers at {guarded.address}: Socket closed\n"


def test_grpc_itself_says_nothing_of_a_handshake_that_failed(guarded: Guarded) -> None:
    done = subprocess.run(
        [BIN / "strata", "models", "--server", guarded.address, "--tls", "--json"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    (line,) = done.stderr.splitlines()
    assert json.loads(line)["error"]["code"] == "UNAVAILABLE"


@pytest.mark.parametrize("content", [b"", b"two words", b"line\nline", "kr\u00e4he".encode(), b"a\0b", b"x" * 2**17])
def test_what_is_no_token_is_named_and_not_shown(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    done = CliRunner().invoke(main, ["models", "--token-file", str(path)])
    assert done.exit_code == 1
    assert str(path) in done.stderr
    assert not content or content.decode()[:20] not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--ca", "/none.pem"], "/none.pem: No such file or directory"),
        (["--token-file", "/none"], "/none: No such file or directory"),
        (["--server", "10.1.2.3:8001"], "token: expected tls on the way to 10.1.2.3:8001"),
    ],
)
def test_what_cannot_open_a_server_is_one_line(arguments: list[str], text: str) -> None:
    done = CliRunner().invoke(main, ["models", *arguments], env={"STRATA_TOKEN": TOKEN})
    assert (done.exit_code, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"strata: {text}")
    assert TOKEN not in line


def test_no_help_page_shows_a_token() -> None:
    assert TOKEN not in CliRunner().invoke(main, ["models", "--help"], env={"STRATA_TOKEN": TOKEN}).output
