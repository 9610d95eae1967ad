import socket
from dataclasses import dataclass

from strata_server.errors import StartError


@dataclass(frozen=True)
class Address:
    """A numeric host and a port to listen on."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return it as it stands in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def resolve_host(host: str) -> str:
    """Return the numeric address of a host, the same for every port: a name may have several.

    Raises:
        StartError: there is no such host.
    """
    try:
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise StartError(f"--host: expected a name or address of this machine, received {host!r}") from error
    return str(found[0][4][0])


def listen(address: Address) -> socket.socket:
    """Return a socket that listens for HTTP.

    Raises:
        StartError: the port cannot be had.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server((address.host, address.port), family=family)
    except OSError as error:
        raise StartError(f"cannot listen for HTTP on {address}: {error.strerror}") from error
