"""A Ray cluster of two nodes on this machine, in a process of its own: Ray stays out of that of the tests."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import psutil
from waiting import wait_until

_SETTINGS = {
    # Seconds, not a quarter of a minute, until a node counts as lost.
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 2000,
    "health_check_failure_threshold": 3,
    "worker_niceness": 0,
}
_ACTOR = "PartWorker"


class RayCluster:
    """Two nodes of one CPU each; the first is that of the drivers."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout
        self._said = process.stdout
        started = json.loads(self._said.readline() or '{"address": "", "nodes": []}')
        assert started["address"], "the cluster did not start"
        self.address: str = started["address"]
        self._nodes = [psutil.Process(number) for number in started["nodes"]]

    def actors(self, node: int) -> list[psutil.Process]:
        """Return the processes of a node that do parts."""
        return [each for each in self._nodes[node].children(recursive=True) if _ACTOR in " ".join(each.cmdline())]

    def kill(self, node: int) -> None:
        """End all processes of a node at once, as when its power fails."""
        for process in (self._nodes[node], *self._nodes[node].children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    @property
    def processes(self) -> list[psutil.Process]:
        """All that belongs to it, and lives."""
        return [each for node in self._nodes if node.is_running() for each in (node, *node.children(recursive=True))]


@contextlib.contextmanager
def cluster() -> Iterator[RayCluster]:
    """Run a cluster as long as the block lasts; none of its processes outlives it."""
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "PYTHONWARNINGS": "ignore"}
    process = subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    assert process.stdin
    running: list[psutil.Process] = []
    try:
        started = RayCluster(process)
        yield started
        running = started.processes
    finally:
        process.stdin.close()  # it ends with its input
        process.wait(60)
        assert process.stdout
        process.stdout.close()
    wait_until(lambda: not any(each.is_running() for each in running))


def main() -> None:
    """Start the nodes, say where they are, and stop them when nobody is left who wants them."""
    from ray.cluster_utils import Cluster  # noqa: PLC0415 - only in this process

    shape: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    nodes: Any = Cluster(initialize_head=True, head_node_args={**shape, "_system_config": _SETTINGS})
    nodes.add_node(**shape)
    raylets = [node.all_processes["raylet"][0].process.pid for node in nodes.list_all_nodes()]
    print(json.dumps({"address": nodes.address, "nodes": raylets}), flush=True)
    sys.stdin.read()
    nodes.shutdown()


if __name__ == "__main__":
    main()
