"""Load by h2load of nghttp2, from a core of its own; its answers are checked by their size and by a real call."""

import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.field.processes import LOAD_CORE, ServerProcess

_FINISHED = re.compile(r"finished in ([0-9.]+)(us|ms|s), ")
_SUCCEEDED = re.compile(r"(\d+) succeeded")
_DATA = re.compile(r"\((\d+)\) data")
_UNIT_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True)
class Turn:
    """What one turn under load showed."""

    requests_s: float
    p50_ms: float
    p99_ms: float
    cpu_s: float
    """Of the server, for 1,000 requests."""


@dataclass(frozen=True)
class Load:
    """What is sent, again and again."""

    url: str
    body: bytes
    reply_bytes: int
    """How large the right answer is."""
    concurrency: int
    content_type: str = "application/grpc"
    is_stream: bool = False
    """All requests are messages of one call; the server says how many it lets in at a time."""
    is_http: bool = False
    """HTTP/1.1 takes a connection for each request at a time; gRPC has one for all."""

    @property
    def flags(self) -> list[str]:
        """As h2load takes them."""
        count = str(self.concurrency)
        ways = ["--h1", "-c", count, "-m", "1"] if self.is_http else ["-c", "1", "-m", count, "-H", "te: trailers"]
        return [*ways, "-H", f"content-type: {self.content_type}", self.url]


def press(server: ServerProcess, load: Load, requests: int) -> Turn:
    """Put a server under load.

    Raises:
        RuntimeError: not all were answered, or with other bytes than the right answer has.
    """
    calls = 1 if load.is_stream else requests
    with tempfile.TemporaryDirectory() as folder:
        data, times = Path(folder) / "body", Path(folder) / "times"
        data.write_bytes(load.body * (requests if load.is_stream else 1))
        command: Sequence[str] = (
            *("taskset", "-c", str(LOAD_CORE), "h2load", "-t", "1"),
            *("-n", str(calls), "-d", str(data), "--log-file", str(times)),
            *load.flags,
        )
        before = server.cpu_s
        output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
        cpu_s = server.cpu_s - before
        durations = np.loadtxt(times, usecols=2, ndmin=1) / 1000
    finished, succeeded, received = _FINISHED.search(output), _SUCCEEDED.search(output), _DATA.search(output)
    if not (finished and succeeded and received):
        raise RuntimeError(f"h2load says: {output[-300:]}")
    if int(succeeded[1]) != calls or int(received[1]) != requests * load.reply_bytes:
        raise RuntimeError(
            f"expected {requests} answers of {load.reply_bytes} bytes, received {succeeded[1]} of {received[1]} in all"
        )
    seconds = float(finished[1]) * _UNIT_S[finished[2]]
    p50, p99 = np.percentile(durations, [50, 99]) if calls > 1 else (np.nan, np.nan)
    return Turn(requests / seconds, float(p50), float(p99), cpu_s / requests * 1000)
