"""Where servers are: `HOST:PORT`, or what else gRPC takes, such as `dns:///HOST:PORT` and `unix:PATH`."""

import ipaddress
import re
from collections.abc import Sequence

from strata_client.errors import InvalidArgument

_HOST_AND_PORT = re.compile(r"(?P<host>\[[^\[\]/]+\]|[^\[\]:/\s]+):(?P<port>[0-9]{1,5})")
_SCHEME = re.compile(r"(?P<scheme>dns|ipv4|ipv6):(//[^/]*/)?(?P<rest>.+)")
_LOCAL_SCHEMES = ("unix:", "unix-abstract:")


def parse(addresses: str | Sequence[str]) -> tuple[str, ...]:
    """Return addresses, which may stand in one text with commas between them.

    Raises:
        InvalidArgument: there is none, one is no address, or one is there twice.
    """
    texts = addresses.split(",") if isinstance(addresses, str) else addresses
    found = tuple(_check(text.strip()) for text in texts)
    if not found or len(set(found)) < len(found):
        raise InvalidArgument(f"address: expected one or more, each once; received {addresses!r}")
    return found


def is_local(address: str) -> bool:
    """Say whether it is this machine, to which nobody else can listen."""
    if address.startswith(_LOCAL_SCHEMES):
        return True
    host = _split(address)
    if host is None:
        return False
    host = host.strip("[]").rstrip(".").lower()
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check(address: str) -> str:
    if address.startswith(_LOCAL_SCHEMES) and address.partition(":")[2]:
        return address
    if _split(address) is None:
        raise InvalidArgument(
            "address: expected HOST:PORT, [IPv6]:PORT, dns:///HOST:PORT or unix:PATH, with commas between several; "
            f"received {address!r}"
        )
    return address


def _split(address: str) -> str | None:
    """Return the host; None where the text is none that has one."""
    scheme = _SCHEME.fullmatch(address)
    found = _HOST_AND_PORT.fullmatch(scheme["rest"] if scheme else address)
    return found["host"] if found and 0 < int(found["port"]) < 2**16 else None
