"""Keys: what rows are called, as text that every table can hold."""

import re

from strata_client.errors import InvalidArgument

_CREDENTIALS = re.compile(
    r"(?<=://)(?:[^/@]*@"  # as a URL has them: user:password@host
    r"|[^/:@]+:(?!\d+(?:/|$))[^@]*@"  # a secret with a slash in it, as cloud stores give them
    r"|/+[^/:@]*:[^/@]*@)"  # where a store has no hosts, and takes them for the name of a folder
)


def write_key(name: str) -> str:
    r"""Return a name as valid text: what is no character, such as a byte of another encoding, becomes `\udc80`."""
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode()


def hide_credentials(url: str) -> str:
    """Return a URL that anybody may see: without user and password, and without what stands behind `?`."""
    if "://" not in url:
        return url
    # All of the query goes: which of its parts is a signature, every store decides for itself.
    return _CREDENTIALS.sub("", url.partition("?")[0])


def is_hidden(path: str) -> bool:
    """Say whether a file, or a folder above it, has a name that begins with a dot."""
    return any(name.startswith(".") and name not in {".", ".."} for name in path.split("/"))


def explain_twice(where: str, key: str, first: str, second: str) -> InvalidArgument:
    """Return the error for two rows of one key: who joins a result by its keys would get each of them twice."""
    return InvalidArgument(f"{where}: expected each row once; {first} and {second} are both {write_key(key)!r}")
