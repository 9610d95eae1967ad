"""The work without the way: onnxruntime in this process.

python -m benchmarks.field.in_process MODEL.onnx OUTPUT ROWS SECONDS NETWORK    prints images per second
"""

import sys
import time
from pathlib import Path

from benchmarks.field.cases import Case
from benchmarks.serving import open_session


def measure(model: Path, output: str, rows: int, seconds: float, network: str) -> float:
    """Return images per second."""
    session = open_session(model)
    entry = session.get_inputs()[0].name
    images = Case(network, rows, 1).draw(0)
    names = [output] if output else None
    session.run(names, {entry: images})
    start, runs = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < seconds:
        session.run(names, {entry: images})
        runs += 1
    return runs * rows / elapsed


if __name__ == "__main__":
    path, name, count, duration, asked = sys.argv[1:]
    print(measure(Path(path), name, int(count), float(duration), asked))
