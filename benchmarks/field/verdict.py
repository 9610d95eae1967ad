"""What was asked for, and what was reached in this run."""

import statistics
from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.field.cases import Case
from benchmarks.field.load import Turn
from benchmarks.tables import show

Turns = Mapping[tuple[str, Case], Sequence[Turn]]
TRITON = "Triton, python backend"
PLAIN = "plain grpc.aio server"


def median(turns: Turns, name: str, case: Case, field: str) -> float:
    """Return the median of a figure over the turns; 0 where there is none."""
    values = [getattr(turn, field) for turn in turns.get((name, case), ())]
    return statistics.median(values) if values else 0.0


def show_verdict(turns: Turns, in_process: Mapping[Case, Sequence[float]]) -> None:
    """Print the figures that Strata must reach, with what it did; none of what was not measured."""

    def rate(name: str, case: Case) -> float:
        return median(turns, name, case, "requests_s")

    def ratio(asked: str, case: Case, least: str, base: float) -> tuple[str, str, float]:
        return asked, least, rate("Strata", case) / base if base else 0.0

    one, eight, many = (Case("digits", 1, each) for each in (1, 8, 64))
    rows = [
        ratio("1 image, c=1, against the plain server", one, "1.1", rate(PLAIN, one)),
        ratio("c=8, against the plain server", eight, "3", rate(PLAIN, eight)),
        ratio("c=64, against the plain server", many, "3.5", rate(PLAIN, many)),
    ]
    batch = Case("digits", 32, 8)
    work, way = statistics.median(in_process.get(batch, [0.0])), rate("gRPC echo", batch) * batch.rows
    if work and way:
        rows.append(
            ratio("32 images, c=8, against 1/(1/onnxruntime + 1/echo)", batch, "0.9", 1 / (1 / work + 1 / way) / 32)
        )
    layer = Case("digits", 1, 8, "conv1")
    pooled = Case("digits", 1, 8, "conv1", "mean")
    rows.append(ratio("conv1, against the plain server's", layer, "2.5", rate(PLAIN, layer)))
    rows.append(ratio("conv1, mean-pooled, against the plain server's conv1", pooled, "4", rate(PLAIN, layer)))
    stream = median(turns, "Strata, one stream", many, "requests_s")
    rows.append(("one stream against unary at c=64", "1.1", stream / (rate("Strata", many) or np.inf)))
    rows += [
        ratio("c=8, against Triton with its python backend", eight, "1.2", rate(TRITON, eight)),
        ratio("c=64, against Triton with its python backend", many, "1.1", rate(TRITON, many)),
    ]
    p50, p99 = (median(turns, "Strata", eight, each) for each in ("p50_ms", "p99_ms"))
    rows.append(("p99 against p50, c=8", "at most 3", p99 / p50 if p50 else 0.0))
    deep = Case("resnet50", 1, 8)
    rows.append(
        ratio("ResNet50, c=8, against onnxruntime", deep, "0.95", statistics.median(in_process.get(deep, [0.0])))
    )
    show("Asked for, and reached", ("figure", "must reach", "measured"), [row for row in rows if row[-1]])
    _show_lead(turns)


def _show_lead(turns: Turns) -> None:
    """Print how far Strata is ahead of each rival in each case."""
    rows = [
        (name, case.name, median(turns, "Strata", case, "requests_s") / median(turns, name, case, "requests_s"))
        for name, case in turns
        if not name.startswith("Strata") and name not in (PLAIN, "gRPC echo")
    ]
    if rows:
        show("Strata's requests/s against each rival's", ("rival", "case", "times"), sorted(rows))
