import asyncio
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from strata.v1.catalog_pb2 import ListModelsResponse
from strata_client import TLS, AsyncClient, Client, InvalidArgument, Model, Retries, Unavailable

Peer = Callable[..., AbstractContextManager[str]]
TOKEN = "s3cret-T0ken"  # noqa: S105 - of nobody
ONCE = Retries(attempts=1)


class Files:
    """Certificates and keys, as files."""

    def __init__(self, folder: Path) -> None:
        self.ours, self.other = trustme.CA(), trustme.CA()
        self.server = self.ours.issue_cert("localhost", "127.0.0.1", "models.example")
        self.authority, self.stranger = folder / "ca.pem", folder / "other-ca.pem"
        self.ours.cert_pem.write_to_path(self.authority)
        self.other.cert_pem.write_to_path(self.stranger)
        self.certificate, self.key = folder / "client.pem", folder / "client.key"
        mine = self.ours.issue_cert("someone@example.org")
        mine.cert_chain_pems[0].write_to_path(self.certificate)
        mine.private_key_pem.write_to_path(self.key)

    def credentials(self, *, mutual: bool = False) -> grpc.ServerCredentials:
        pair = (self.server.private_key_pem.bytes(), self.server.cert_chain_pems[0].bytes())
        return grpc.ssl_server_credentials([pair], self.ours.cert_pem.bytes() if mutual else None, mutual)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def secure(peer: Peer, files: Files) -> Iterator[str]:
    with peer({"ListModels": answer}, files.credentials()) as address:
        yield address


@pytest.fixture
def mutual(peer: Peer, files: Files) -> Iterator[str]:
    with peer({"ListModels": answer}, files.credentials(mutual=True)) as address:
        yield address


def answer(_: object, context: grpc.ServicerContext) -> ListModelsResponse:
    """Answer with a model for each `authorization` that came."""
    tokens = [value for key, value in context.invocation_metadata() if key == "authorization"]
    return ListModelsResponse(models=[{"name": str(token)} for token in tokens])


def test_a_server_is_trusted_whose_certificate_the_authority_has_signed(secure: str, files: Files) -> None:
    for authority in (files.authority, str(files.authority), files.authority.read_bytes()):
        with Client(secure, tls=TLS(authority)) as client:
            assert client.models() == []


def test_a_server_that_another_authority_has_signed_is_not_trusted(secure: str, files: Files) -> None:
    for tls in (TLS(files.stranger), TLS()):
        with Client(secure, tls=tls, retries=ONCE) as client, pytest.raises(Unavailable, match=secure) as caught:
            client.models()
        assert str(caught.value).endswith(": CERTIFICATE_VERIFY_FAILED: unable to get local issuer certificate")


def test_a_server_must_have_the_name_that_it_is_asked_by(secure: str, files: Files) -> None:
    with Client(secure, tls=TLS(files.authority, server_name="models.example")) as client:
        assert client.models() == []
    elsewhere = TLS(files.authority, server_name="elsewhere.example")
    with Client(secure, tls=elsewhere, retries=ONCE) as client, pytest.raises(Unavailable):
        client.models()


def test_without_tls_a_secure_server_is_not_understood(secure: str) -> None:
    with Client(secure, retries=ONCE) as client, pytest.raises(Unavailable):
        client.models()


def test_a_server_that_wants_a_certificate_gets_ours(mutual: str, files: Files) -> None:
    by_path = TLS(files.authority, files.certificate, files.key)
    by_text = TLS(*map(str, (files.authority, files.certificate, files.key)))
    by_bytes = TLS(files.authority, files.certificate.read_bytes(), files.key.read_bytes())
    for tls in (by_path, by_text, by_bytes):
        with Client(mutual, tls=tls) as client:
            assert client.models() == []


def test_a_server_that_wants_a_certificate_refuses_who_has_none(mutual: str, files: Files) -> None:
    with Client(mutual, tls=TLS(files.authority), retries=ONCE) as client, pytest.raises(Unavailable):
        client.models()


def test_a_token_arrives_with_every_call(secure: str, files: Files) -> None:
    tokens = iter(["one", "two"])
    with Client(secure, tls=TLS(files.authority), token=TOKEN) as client:
        assert [model.name for model in client.models()] == [f"Bearer {TOKEN}"]
    with Client(secure, tls=TLS(files.authority), token=lambda: next(tokens)) as client:
        assert [client.models()[0].name for _ in range(2)] == ["Bearer one", "Bearer two"]


def test_a_client_for_tasks_encrypts_and_shows_its_token_as_well(mutual: str, files: Files) -> None:
    async def ask() -> list[Model]:
        tls = TLS(files.authority, files.certificate, files.key)
        async with AsyncClient(mutual, tls=tls, token=lambda: TOKEN) as client:
            return await client.models()

    assert [model.name for model in asyncio.run(ask())] == [f"Bearer {TOKEN}"]


def test_a_token_goes_without_encryption_to_this_machine_alone(peer: Peer) -> None:
    with peer({"ListModels": answer}) as address, Client(address, token=TOKEN) as client:
        assert [model.name for model in client.models()] == [f"Bearer {TOKEN}"]
    for address in ("gpu1:8001", "localhost:8001,10.0.0.1:8001"):
        with pytest.raises(InvalidArgument, match="expected tls on the way to"):
            Client(address, token=TOKEN)
        Client(address, token=TOKEN, plain_token=True).close()
        Client(address, token=TOKEN, tls=TLS()).close()


@pytest.mark.parametrize("token", [f"{TOKEN}\n", f" {TOKEN}", f"{TOKEN}é", ""])
def test_a_token_that_cannot_be_sent_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(InvalidArgument, match="token: expected printable ASCII without spaces") as caught:
        Client(token=token)
    assert TOKEN not in show(caught.value)
    with Client(token=lambda: token) as client, pytest.raises(InvalidArgument, match="token: expected") as caught:
        client.models()
    assert TOKEN not in show(caught.value)


def test_no_error_shows_the_token(peer: Peer) -> None:
    def refuse(_: object, context: grpc.ServicerContext) -> None:
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "no")

    with peer({"ListModels": refuse}) as address, Client(address, token=TOKEN) as client:
        with pytest.raises(Exception, match="no") as caught:
            client.models()
        assert TOKEN not in show(caught.value) + repr(client)


def show(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + repr(error) + repr(error.__cause__)


@pytest.mark.parametrize("place", ["authority", "certificate", "key"])
def test_a_file_that_is_none_of_its_kind_is_refused_by_name(files: Files, tmp_path: Path, place: str) -> None:
    wrong = tmp_path / "wrong.pem"
    right = TLS(files.authority, files.certificate, files.key)
    damaged = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    for data in (b"", b"\x00\xff" * 100, damaged, files.authority.read_bytes() if place == "key" else damaged):
        wrong.write_bytes(data)
        for path in (wrong, str(wrong)):
            changed: dict[str, Any] = {place: path}
            with pytest.raises(InvalidArgument, match=r"wrong\.pem: expected"):
                Client(tls=replace(right, **changed))


def test_a_key_of_another_certificate_or_with_a_password_is_refused_by_name(files: Files, tmp_path: Path) -> None:
    other = tmp_path / "other.key"
    files.other.issue_cert("someone@example.org").private_key_pem.write_to_path(other)
    with pytest.raises(InvalidArgument, match=r"other\.key: expected the private key of .*client\.pem"):
        Client(tls=TLS(files.authority, files.certificate, other))
    locked = tmp_path / "locked.key"
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    locked.write_bytes(key.private_bytes(*form, serialization.BestAvailableEncryption(b"word")))
    with pytest.raises(InvalidArgument, match=r"locked\.key: expected the private key of .*, without a password"):
        Client(tls=TLS(files.authority, files.certificate, locked))


def test_a_missing_file_is_the_error_it_always_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Client(tls=TLS(tmp_path / "none.pem"))


def test_a_certificate_is_nothing_without_its_key(files: Files) -> None:
    for tls in (TLS(certificate=files.certificate), TLS(key=files.key)):
        with pytest.raises(InvalidArgument, match="certificate and key together"):
            Client(tls=tls)


def test_the_text_of_a_key_is_no_path_and_is_not_shown(files: Files) -> None:
    text = files.key.read_text()
    with pytest.raises(InvalidArgument, match="tls: key: expected a path or bytes") as caught:
        Client(tls=TLS(files.authority, files.certificate, text))
    assert text.splitlines()[1] not in show(caught.value)


def test_a_key_is_not_shown(files: Files) -> None:
    assert "PRIVATE" not in repr(TLS(files.authority, files.certificate, files.key.read_bytes()))
