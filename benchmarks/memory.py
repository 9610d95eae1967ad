"""How much memory held slices take, by the process's own resident set, beside the budget they are held under.

    python -m benchmarks.memory ARTIFACT BUDGET_MIB

prints one line of JSON, in a process of its own.
"""

import gc
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.networks import Exports
from benchmarks.serving import serve
from benchmarks.tables import show as show_table

_MIB = 2**20
_SLICES = 10


def show(network: Exports) -> None:
    """Print what ten slices of ResNet50 take, under budgets that hold all of them and only some."""
    rows = []
    for budget_mib in (1024, 256):
        command = [sys.executable, "-m", "benchmarks.memory", str(network.artifact), str(budget_mib)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        rows.append((budget_mib, found["held_mib"], found["grown_mib"], found["grown_mib"] / budget_mib))
    show_table(
        f"ResNet50, {_SLICES} slices asked for one after the other",
        ("budget, MiB", "held by its own count, MiB", "resident set grown, MiB", "of the budget"),
        rows,
    )


def main(artifact: str, budget_mib: str) -> None:
    """Ask for slices at even depths, the last one the deepest; print how far the resident set has grown."""
    version, ask = serve(Path(artifact), budget_bytes=int(budget_mib) * _MIB)
    layers = [layer.name for layer in version.catalog.layers if not layer.default_exit][1:]
    wanted = [layers[place] for place in np.linspace(0, len(layers) - 1, _SLICES).astype(int)]
    image = {version.catalog.inputs[0].name: np.zeros((1, 224, 224, 3), np.float32)}
    before = _resident()
    for _ in range(2):
        for layer in wanted:
            ask(image, [layer])
    gc.collect()
    held = version._sessions.held_bytes  # noqa: SLF001 - what no request can ask for
    print(json.dumps({"held_mib": held / _MIB, "grown_mib": (_resident() - before) / _MIB}))


def _resident() -> int:
    """Return the resident set in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


if __name__ == "__main__":
    main(*sys.argv[1:])
