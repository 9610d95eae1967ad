"""`strata batch` against its limits and a plain script, its memory, what kills leave: python -m benchmarks.batch.

Server and client share the cores of the machine. The turns alternate: decoding alone, the network alone, the batch,
the script.
"""

import argparse
import os
import statistics
import tempfile
from pathlib import Path

from benchmarks.batch.commands import Server, run_batch, run_script
from benchmarks.batch.crashes import count_equal
from benchmarks.batch.limits import measure_decoding, measure_network
from benchmarks.batch.pictures import make_pictures
from benchmarks.networks import export_run
from benchmarks.tables import show

LAYER = "dense1"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--many", type=int, default=200_000, help="images for the memory; 0 leaves it out")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="of the server")
    given = parser.parse_args()
    artifact = export_run("digits")
    server = Server(artifact.parents[2], "--workers", str(given.workers))
    try:
        with tempfile.TemporaryDirectory() as folder:
            pictures = make_pictures(Path(folder) / "pictures", given.images)
            measure_speed(server, artifact, pictures, Path(folder), given.rounds)
            measure_crashes(server, pictures, Path(folder), given.kills)
            if given.many:
                measure_memory(server, pictures, Path(folder), given.many)
    finally:
        server.close()


def measure_speed(server: Server, artifact: Path, pictures: Path, folder: Path, rounds: int) -> None:
    """Print images per second, and their shares of the limit."""
    files = sorted(pictures.rglob("*.png"))
    rates: dict[str, list[float]] = {name: [] for name in ("decoding", "network", "batch", "whole", "script")}
    for _ in range(rounds):
        rates["decoding"].append(measure_decoding(files, artifact))
        rates["network"].append(measure_network(artifact, [LAYER, "predictions"], len(files)))
        summary, ended = run_batch(server.address, pictures, folder / "out", LAYER)
        rates["batch"].append(len(files) / summary["seconds"])
        rates["whole"].append(len(files) / ended.seconds)
        rates["script"].append(len(files) / run_script(server.address, pictures, folder / "out.parquet", LAYER))
    median = {name: statistics.median(each) for name, each in rates.items()}
    limit = 1 / (1 / median["decoding"] + 1 / median["network"])
    rows = [
        ("decoding alone", median["decoding"], median["decoding"] / limit),
        ("onnxruntime alone", median["network"], median["network"] / limit),
        ("1/(1/decoding + 1/onnxruntime)", limit, 1.0),
        ("strata batch", median["batch"], median["batch"] / limit),
        ("strata batch, the start of its process included", median["whole"], median["whole"] / limit),
        ("thread pool and tritonclient, without its start", median["script"], median["script"] / limit),
    ]
    show(f"{len(files):,} PNGs of 28x28, `--layers {LAYER}`", ("run", "images/s", "share of the limit"), rows)


def measure_crashes(server: Server, pictures: Path, folder: Path, kills: int) -> None:
    """Print what came of kills."""
    met, parts = count_equal(server.address, pictures, folder, LAYER, kills)
    show(
        "Killed with SIGKILL at random moments, then finished",
        ("kills", "of a job at work", "parts", "equal to an undisturbed run, byte for byte"),
        [(kills, met, parts, parts)],
    )


def measure_memory(server: Server, few: Path, folder: Path, count: int) -> None:
    """Print the largest resident sets for few images and for many."""
    many = make_pictures(folder / "many", count)
    rows = []
    for name, pictures in (("few", few), ("many", many)):
        summary, ended = run_batch(server.address, pictures, folder / name / "out", LAYER)
        rows.append((f"{summary['rows']:,}", ended.peak_mib, server.peak_mib, summary["rows"] / summary["seconds"]))
    show("Peak memory", ("images", "client, MiB", "server until then, MiB", "images/s"), rows)


if __name__ == "__main__":
    main()
