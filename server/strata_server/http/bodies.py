"""The body of a request: bounded in bytes as it comes, in bytes as it expands, and in time."""

import asyncio
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.datastructures import Headers

from strata_server.errors import HungUp, InvalidArgument, OverLimit, Overloaded, StrataError
from strata_server.http.exchange import Receive

PATIENCE_S = 10.0
"""How long a body may take to come, and an answer to be read."""
SLOWEST_BYTES_S = 64 * 1024
"""For so many bytes of it, a second more."""
_AT_A_TIME_BYTES = 512 * 2**20
_AGAIN_S = 0.1
_ANY_HEADER = zlib.MAX_WBITS | 32  # gzip's or zlib's, whichever comes
_CODINGS = ("gzip", "x-gzip", "deflate")


class Slow(StrataError):
    """The body does not come."""


class UnknownCoding(StrataError):
    """The body is compressed in a way that is not known here."""


class Bodies:
    """Reads bodies, so many bytes at a time."""

    def __init__(self, max_bytes: int, at_a_time_bytes: int = _AT_A_TIME_BYTES) -> None:
        """Set the limits.

        Args:
            max_bytes: the largest body, after decompression.
            at_a_time_bytes: most bytes of bodies that are read, or whose answer is awaited.
        """
        self.max_bytes = max_bytes
        self._most_bytes = at_a_time_bytes
        self._bytes = 0

    @contextmanager
    def read(self) -> Iterator["Body"]:
        """Give what reads one body; its bytes count as long as the block lasts."""
        body = Body(self)
        try:
            yield body
        finally:
            self._bytes -= body.taken_bytes

    def take(self, body: "Body", size: int) -> None:
        """Count bytes of a body.

        Raises:
            OverLimit: the body is too large.
            Overloaded: all bodies together are.
        """
        if body.taken_bytes + size > self.max_bytes:
            raise OverLimit(f"expected a body of at most {self.max_bytes} bytes, received more")
        before = self._bytes - body.taken_bytes
        if before and self._bytes + size > self._most_bytes:
            expected = f"expected at most {self._most_bytes} bytes of bodies at a time"
            raise Overloaded(f"{expected}, received {body.taken_bytes + size} beside {before}", _AGAIN_S)
        self._bytes += size
        body.taken_bytes += size


class Body:
    """One body as it comes."""

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self.taken_bytes = 0
        """How many bytes of it there are, decompressed."""

    async def read(self, headers: Headers, receive: Receive) -> bytes:
        """Return the whole body, decompressed.

        Raises:
            OverLimit: it is too large, or says that it will be.
            Overloaded: too many bodies come at a time.
            Slow: it does not come in time.
            UnknownCoding: it is compressed in another way than gzip or deflate.
            InvalidArgument: it is not what its coding says.
            HungUp: the caller has gone.
        """
        # h11 lets no other than a number through.
        announced = int(headers.get("content-length", "0"))
        if announced > self._bodies.max_bytes:
            raise OverLimit(f"expected a body of at most {self._bodies.max_bytes} bytes, received {announced}")
        coding = headers.get("content-encoding", "identity").strip().lower()
        if coding == "identity":
            return await self._read_plain(receive)
        if coding not in _CODINGS:
            raise UnknownCoding(f"expected the content-encoding gzip or deflate, received {coding[:40]!r}")
        return await self._read_compressed(receive)

    async def _read_plain(self, receive: Receive) -> bytes:
        pieces = []
        clock = _Clock()
        more = True
        while more:
            piece, more = await clock.receive(receive)
            self._bodies.take(self, len(piece))
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _read_compressed(self, receive: Receive) -> bytes:
        pieces = []
        clock = _Clock()
        inflating = zlib.decompressobj(_ANY_HEADER)
        more = True
        while more:
            piece, more = await clock.receive(receive)
            while piece and not inflating.eof:
                room = self._bodies.max_bytes - self.taken_bytes + 1  # one byte too many shows that there are more
                # Beside the loop: a few kilobytes may become megabytes.
                inflated = await asyncio.to_thread(_inflate, inflating, piece, room)
                self._bodies.take(self, len(inflated))
                pieces.append(inflated)
                piece = inflating.unconsumed_tail
            if piece or inflating.unused_data:
                raise InvalidArgument("expected one compressed body, received more behind its end")
        if not inflating.eof:
            raise InvalidArgument("expected a compressed body, received one that is cut off")
        return b"".join(pieces)


def _inflate(inflating: "zlib._Decompress", piece: bytes, room: int) -> bytes:
    try:
        return inflating.decompress(piece, room)
    except zlib.error as error:
        raise InvalidArgument("expected a body compressed as its content-encoding says, received another") from error


class _Clock:
    """How long a body may take."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._bytes = 0

    async def receive(self, receive: Receive) -> tuple[bytes, bool]:
        """Return the next piece, and whether there are more."""
        allowed_s = PATIENCE_S + self._bytes / SLOWEST_BYTES_S
        try:
            async with asyncio.timeout(self._began + allowed_s - time.monotonic()):
                message = await receive()
        except TimeoutError as error:
            raise Slow(f"expected the body within {allowed_s:.0f} s, received {self._bytes} bytes of it") from error
        if message["type"] == "http.disconnect":
            raise HungUp("the caller has gone")
        piece: bytes = message.get("body", b"")
        self._bytes += len(piece)
        return piece, message.get("more_body", False)
