"""How a server is known, and how it knows its caller."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from strata_client.errors import InvalidArgument

File: TypeAlias = "str | os.PathLike[str] | bytes"
"""A path, or the bytes of a file."""


@dataclass(frozen=True)
class TLS:
    """Encrypted connections: who must have signed the server's certificate, and what the client shows of itself.

    Each of the three is a PEM file by its path, or the bytes of one. A path is read once, when a client is made.
    """

    authority: File | None = None
    """The certificates that the server's must be signed by; None for those that gRPC comes with."""
    certificate: File | None = None
    """The client's own, with those between it and its authority; only with `key`."""
    key: File | None = field(default=None, repr=False)
    """The private key of `certificate`, without a password."""
    server_name: str | None = None
    """The name that must stand in the server's certificate; None for the host of the address."""


@dataclass(frozen=True)
class Identity:
    """What `TLS` names, read and looked at: PEM each, None where it names none."""

    authority: bytes | None
    certificate: bytes | None
    key: bytes | None = field(repr=False)


def read_identity(tls: TLS) -> Identity:
    """Read the files.

    gRPC would say of a wrong one no more than that the connection failed.

    Raises:
        InvalidArgument: one is none of its kind, or certificate and key do not belong together.
        OSError: one cannot be read.
    """
    if (tls.certificate is None) != (tls.key is None):
        raise InvalidArgument("tls: expected certificate and key together; received one without the other")
    identity = Identity(
        _read(tls.authority, "authority", "CERTIFICATE"),
        _read(tls.certificate, "certificate", "CERTIFICATE"),
        _read(tls.key, "key", "PRIVATE KEY"),
    )
    for value, what in ((tls.authority, "authority"), (tls.certificate, "certificate")):
        _check_certificates(getattr(identity, what), _name(value, what))
    if isinstance(tls.certificate, str | os.PathLike) and isinstance(tls.key, str | os.PathLike):
        _check_pair(Path(tls.certificate), Path(tls.key))
    return identity


def _name(value: File | None, what: str) -> str:
    return os.fspath(value) if isinstance(value, str | os.PathLike) else what


def _read(value: File | None, what: str, kind: str) -> bytes | None:
    if value is None:
        return None
    # The complaint about such a path would show it, and it may be a key.
    if isinstance(value, str) and "-----BEGIN " in value:
        raise InvalidArgument(f"tls: {what}: expected a path or bytes; received the text of a file")
    data = value if isinstance(value, bytes) else Path(value).read_bytes()
    if b"-----BEGIN " not in data or f"{kind}-----".encode() not in data:
        raise InvalidArgument(f"tls: {_name(value, what)}: expected PEM with a {kind.lower()}; received none")
    return data


def _check_certificates(data: bytes | None, name: str) -> None:
    import ssl  # noqa: PLC0415 - TLS itself is imported with everything, and most never need more of it

    if data is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=data.decode("ascii", "ignore"))
    except ssl.SSLError as error:
        raise InvalidArgument(f"tls: {name}: expected certificates; received damaged ones") from error


def _check_pair(certificate: Path, key: Path) -> None:
    import ssl  # noqa: PLC0415 - as above

    try:
        # Without a password of ours OpenSSL would ask for one on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        raise InvalidArgument(
            f"tls: {key}: expected the private key of {certificate}, without a password; received another or none"
        ) from error
