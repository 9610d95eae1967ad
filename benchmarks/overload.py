"""Ten times what the server can do, for a minute: python -m benchmarks.overload.

ResNet50 on one core, a deadline on every call, requests sent on a schedule whether or not the last ones were answered.
First the peak is measured, with eight at a time; then the load, and what became of every request.
"""

import argparse
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil

from benchmarks.field import wire
from benchmarks.field.cases import Case
from benchmarks.field.processes import LOAD_CORE, ServerProcess, find_port
from benchmarks.networks import export_networks
from benchmarks.tables import show

_CASE = Case("resnet50", 1, 8)
_CHANNELS = 8
_SAMPLES_S = 0.5


@dataclass
class Fates:
    """What became of requests."""

    accepted_s: list[float] = field(default_factory=list)
    """How long those took that were answered."""
    refused_s: list[float] = field(default_factory=list)
    """How long those took that were refused."""
    codes: Counter[str] = field(default_factory=Counter)
    without_pushback: int = 0
    """Refusals that do not say when to try again."""


class Client:
    """Sends one request again and again, over several channels."""

    def __init__(self, port: int) -> None:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        self.body = wire.write_infer(_CASE, _CASE.network, "", _CASE.draw(0))
        self._channels = [grpc.insecure_channel(f"127.0.0.1:{port}", options) for _ in range(_CHANNELS)]
        self._methods: list[Any] = [each.unary_unary(wire.OPEN_INFERENCE) for each in self._channels]
        self._lock = threading.Lock()

    def ask(self, deadline_s: float) -> float:
        """Return how long one request takes."""
        start = time.perf_counter()
        self._methods[0](self.body, timeout=deadline_s)
        return time.perf_counter() - start

    def measure_peak(self, seconds: float) -> float:
        """Return requests per second with eight at a time."""
        end = time.perf_counter() + seconds

        def go_on(method: Any) -> int:
            count = 0
            while time.perf_counter() < end:
                method(self.body, timeout=60)
                count += 1
            return count

        with ThreadPoolExecutor(_CASE.concurrency) as pool:
            return sum(pool.map(go_on, self._methods)) / seconds

    def press(self, rate: float, seconds: float, deadline_s: float) -> Fates:
        """Send on a schedule, and return what became of all."""
        fates = Fates()
        open_calls: set[Any] = set()
        start = time.perf_counter()
        for number in range(int(rate * seconds)):
            wait_s = start + number / rate - time.perf_counter()
            if wait_s > 0:
                time.sleep(wait_s)
            call = self._methods[number % _CHANNELS].future(self.body, timeout=deadline_s)
            with self._lock:
                open_calls.add(call)
            call.add_done_callback(self._noting(fates, open_calls, time.perf_counter()))
        while open_calls:
            time.sleep(0.01)
        return fates

    def _noting(self, fates: Fates, open_calls: set[Any], start: float) -> Callable[[Any], None]:
        def note(call: Any) -> None:
            took = time.perf_counter() - start
            code = call.code()
            with self._lock:
                fates.codes[code.name] += 1
                if code is grpc.StatusCode.OK:
                    fates.accepted_s.append(took)
                elif code is grpc.StatusCode.RESOURCE_EXHAUSTED:
                    fates.refused_s.append(took)
                    fates.without_pushback += "grpc-retry-pushback-ms" not in dict(call.trailing_metadata())
                open_calls.discard(call)

        return note


@contextmanager
def sampling(server: ServerProcess) -> Iterator[list[float]]:
    """Note the server's resident set, in MiB, twice a second."""
    sizes: list[float] = []
    over = threading.Event()

    def sample() -> None:
        while not over.wait(_SAMPLES_S):
            sizes.append(server.resident_mib)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield sizes
    finally:
        over.set()
        thread.join()


def main(argv: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--times", type=float, default=10.0, help="of what the server can do")
    parser.add_argument("--deadline-s", type=float, default=1.0)
    parser.add_argument("--transport", default="queue")
    options = parser.parse_args(argv)
    exports = export_networks()[_CASE.network]
    psutil.Process().cpu_affinity([LOAD_CORE])
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "models"
        shutil.copytree(exports.artifact.parent.parent, models / _CASE.network)
        port = find_port()
        command = [str(Path(sys.executable).parent / "strata-server"), "--models", str(models)]
        flags = ["--grpc-port", str(port), "--http-port", "0", "--threads", "1", "--transport", options.transport]
        server = ServerProcess([*command, *flags], "strata-server ready", Path(folder) / "log")
        try:
            _measure(Client(port), server, options)
        finally:
            server.end()
    return 0


def _measure(client: Client, server: ServerProcess, options: argparse.Namespace) -> None:
    client.measure_peak(3)
    peak = client.measure_peak(15)
    client.press(peak * options.times, 5, options.deadline_s)  # what overload takes once, it takes here
    cpu_s = server.cpu_s
    with sampling(server) as sizes:
        fates = client.press(peak * options.times, options.seconds, options.deadline_s)
    cpu_s = server.cpu_s - cpu_s
    first_s = client.ask(60)
    again = client.measure_peak(10)
    goodput = len(fates.accepted_s) / options.seconds
    half = len(sizes) // 2
    rows = [
        ("peak, 8 at a time, requests/s", peak),
        ("offered, requests/s", peak * options.times),
        ("goodput, requests/s", goodput),
        ("goodput against the peak", goodput / peak),
        ("accepted, p50, s", _percentile(fates.accepted_s, 50)),
        ("accepted, p99, s", _percentile(fates.accepted_s, 99)),
        ("deadline, s", options.deadline_s),
        ("refused, p50, s", _percentile(fates.refused_s, 50)),
        ("refused, p99, s", _percentile(fates.refused_s, 99)),
        *((f"answered {code}", count) for code, count in fates.codes.most_common()),
        ("refusals that do not say when to try again", fates.without_pushback),
        ("server's CPU, s", cpu_s),
        ("resident set, first half, at most, MiB", max(sizes[:half])),
        ("resident set, second half, at most, MiB", max(sizes[half:])),
        ("first request after it, s", first_s),
        ("8 at a time after it, against the peak", again / peak),
    ]
    show(f"ResNet50 at {options.times:g} times what it can do, for {options.seconds:g} s", ("figure", "measured"), rows)


def _percentile(values: list[float], percent: float) -> float:
    return float(np.percentile(values, percent)) if values else float("nan")


if __name__ == "__main__":
    sys.exit(main())
