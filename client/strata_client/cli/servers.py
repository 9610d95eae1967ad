"""Whom a command asks: addresses, credentials and how long it waits."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click

from strata_client.errors import InvalidArgument
from strata_client.files import read_limited

if TYPE_CHECKING:
    from strata_client import TLS, Client

_TOKEN = re.compile(rb"[!-~]+")
_MOST_TOKEN_BYTES = 64 * 2**10  # far more than a header may have: a wrong file is not read whole


@dataclass(frozen=True)
class Server:
    """What the options of the section Connection say, under their names."""

    server: str
    timeout_s: float
    tls: bool
    ca: Path | None
    cert: Path | None
    key: Path | None
    server_name: str | None
    token_file: Path | None
    plain_token: bool

    @classmethod
    def take(cls, options: dict[str, Any]) -> Self:
        """Take its options out of those of a command.

        Raises:
            click.UsageError: a certificate without its key, or a key without its certificate.
        """
        server = cls(**{field.name: options.pop(field.name) for field in fields(cls)})
        if (server.cert is None) != (server.key is None):
            raise click.UsageError("--cert and --key go together: a certificate and its private key")
        return server

    @classmethod
    def guess(cls, options: Mapping[str, Any]) -> Self:
        """Return what is known while a command is still being typed."""
        known: dict[str, Any] = {field.name: options.get(field.name) for field in fields(cls)}
        return cls(**known)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Those of `--server`, one by one."""
        return tuple(filter(None, (address.strip() for address in self.server.split(","))))

    def settings(self) -> dict[str, Any]:
        """Return what `Client` takes beside the addresses."""
        return {
            "timeout_s": self.timeout_s,
            "tls": self._secure(),
            "token": self._token(),
            "plain_token": self.plain_token,
        }

    def connect(self, **changes: Any) -> "Client":
        """Return a client that has these credentials, with other settings where they are given; nothing is asked yet.

        Raises:
            InvalidArgument: a certificate or a token is none.
            OSError: a file cannot be read.
        """
        from strata_client import Client

        return Client(self.server, **self.settings() | changes)

    def _secure(self) -> "TLS | None":
        from strata_client import TLS

        if not (self.tls or self.ca or self.cert or self.server_name):
            return None
        return TLS(authority=self.ca, certificate=self.cert, key=self.key, server_name=self.server_name)

    def _token(self) -> "str | Callable[[], str] | None":
        if self.token_file is None:
            # No option: a process's arguments are there for all to read.
            return os.environ.get("STRATA_TOKEN", "").strip() or None
        # Read for each call: whoever gives such files out writes new ones before the old expire.
        return partial(read_token, self.token_file)


def read_token(path: Path) -> str:
    """Return the token that a file holds, without the space around it.

    Raises:
        InvalidArgument: it holds none; the message does not show what it holds.
        OSError: it cannot be read.
    """
    data = read_limited(path, _MOST_TOKEN_BYTES).strip()
    if not _TOKEN.fullmatch(data):
        raise InvalidArgument(f"{path}: expected a token of printable ASCII without spaces; received something else")
    return data.decode()
